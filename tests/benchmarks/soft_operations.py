"""CPU time of what a quantizer that weighs all codes computes, in bare products of features and codes.

    python tests/benchmarks/soft_operations.py                # measures, prints a table
    python tests/benchmarks/soft_operations.py -o FILE        # and saves the measurement as JSON
    python tests/benchmarks/soft_operations.py --show FILE    # its table, in Markdown, without torch

On one thread, 2,048 features of 64 dimensions, 512 codes; the least of 15 calls, since other work only adds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

FEATURES, CODES, DIM, CALLS = 2048, 512, 64, 15
NOISY_CHOICE = {
    "product of features and codes": 2,
    "product of weights and codes": 2,
    "product of weights and features, for the codes": 2,
    "uniform numbers": 1,
    "logarithm": 2,
    "softmax": 2,
    "argmax": 1,
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a kept measurement, in Markdown")
    chosen = parser.parse_args(words)
    found = json.loads(chosen.show.read_text()) if chosen.show else measured()
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, "pipe" if chosen.show else "simple"))


def measured() -> dict[str, Any]:
    import torch

    from vqbench.system.provenance import machine_facts

    torch.set_num_threads(1)
    seconds = {name: least(call) for name, call in operations().items()}
    return {"machine": machine_facts(torch.device("cpu")), "seconds": seconds}


def operations() -> dict[str, Callable[[], object]]:
    import numpy as np
    import torch

    z, e = torch.randn(FEATURES, DIM), torch.randn(CODES, DIM)
    uniform, out = torch.rand(FEATURES, CODES), torch.empty(FEATURES, CODES)
    near, far = torch.randn(FEATURES, CODES), -(torch.cdist(z, e) ** 2)
    chosen = near > 0
    generator = np.random.RandomState(0)
    return {
        "product of features and codes": lambda: torch.mm(z, e.T, out=out),
        "product of weights and codes": lambda: uniform @ e,
        "product of weights and features, for the codes": lambda: uniform.T @ z,
        "the first product, by oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(z, e, None, "none", [], ""),
        "uniform numbers": lambda: out.uniform_(),
        "uniform numbers, by numpy": lambda: generator.random_sample(out.numel()),
        "exponential numbers": lambda: out.exponential_(),
        "logarithm": lambda: torch.log(uniform, out=out),
        "exponential": lambda: torch.exp(near, out=out),
        "softmax": lambda: torch.softmax(near, 1, out=out),
        "softmax with denormal results": lambda: torch.softmax(far, 1, out=out),
        "log-sum-exp": lambda: near.logsumexp(1),
        "argmax": lambda: near.argmax(1),
        "largest": lambda: near.amax(1),
        "choice by a condition": lambda: torch.where(chosen, near, uniform, out=out),
        "one pass that multiplies": lambda: torch.mul(near, uniform, out=out),
    }


def least(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(CALLS):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


def table(found: dict[str, Any], style: str) -> str:
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine, seconds = found["machine"], found["seconds"]
    product, *_ = seconds.values()
    noisy_choice = sum(times * seconds[name] for name, times in NOISY_CHOICE.items())
    lines = [
        [name, f"{1e9 * each / (FEATURES * CODES):.2f}", f"{each / product:.2f}"]
        for name, each in {**seconds, "a noisy soft choice, forward and backward": noisy_choice}.items()
    ]
    made, torch, commit = origins_of(machine)[0], machine["versions"]["torch"], machine["commit"]
    sizes = f"{FEATURES:,} features of {DIM} dimensions, {CODES} codes"
    head = f"{replace(made, threads=1)}, torch {torch}, commit {commit}; {sizes}."
    columns = ["operation", "ns an entry", "in bare products"]
    return f"{head}\n\n{tabulate(lines, columns, style, disable_numparse=True, colalign=['left', 'right', 'right'])}"


if __name__ == "__main__":
    main()
