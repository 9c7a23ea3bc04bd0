"""Seconds of a whole training step, ours beside the plain sort-based one, measured in turn in one process.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/whole_step.py
    python tests/benchmarks/whole_step.py --quantizer cvq --precision float32 --precision bf16 -o FILE
    python tests/benchmarks/whole_step.py --show FILE    # the table of a kept measurement, in Markdown, without torch

Ours is the recipe's own loop on random images: forward, objective, backward, Adam. The plain one is in ``plain.py``.
On a GPU each row is followed by one of captured updates, as of ``vqbench run --capture``.
Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

SHAPES = {"mnist": (1, 28), "cifar10": (3, 32)}  # channels, side
# Quantizer -> the plain step that it is compared with.
ROWS = {
    "identity": "baseline",
    "vq": "baseline",
    "vq_ema": "baseline",
    "hvq": "baseline",
    "sqvae": "baseline",
    "cvq(anchor=closest,contrastive=false)": "closest",
    "cvq(contrastive=false)": "headline",
    "cvq": "headline",
}
HEADS = ["quantizer", "data set", "batch", "precision", "ours [s]", "plain [s]", "plain step", "plain ÷ ours"]


def measured(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield each row as soon as it is measured."""
    from vqbench.system.environment import LARGE_PAGES

    os.environ.update(LARGE_PAGES)  # as the processes of `run` have it; for both sides
    import torch
    from plain import plain_step  # beside this file

    from vqbench.profiling.subjects import Size, subjects
    from vqbench.profiling.timing import RandomImages, Rounds, StepTimer
    from vqbench.training.engine import Engine

    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    device = Engine(chosen.device).device
    for dataset, name in product(chosen.dataset or SHAPES, chosen.quantizer or ROWS):
        like = RandomImages(chosen.batch, *SHAPES[dataset])
        size = Size(like.batch * like.positions, chosen.num_codes, chosen.dim)
        for subject, precision in product(subjects([name], [], [size]), chosen.precision or ["float32", "bf16"]):
            setting = chosen.plain or ROWS.get(name, "headline")
            plain = plain_step(setting, like, chosen.num_codes, chosen.dim, device)
            for captured in (False, True) if device.type == "cuda" else (False,):
                refusals: list[str] = []
                between = Rounds({"plain": strict(plain)}, device)
                capture = refusals.append if captured else None
                ours = StepTimer(subject, like, precision, chosen.device, capture).timed(between, chosen.repeat)
                if refusals:  # it was timed as in the row before
                    print(f"{subject.label}: {refusals[0]}", file=sys.stderr)
                    continue
                seconds = {"ours": statistics.median(ours), "plain": statistics.median(between.samples["plain"])}
                yield {
                    "quantizer": subject.label + ", captured" * captured,
                    "dataset": dataset,
                    "batch": chosen.batch,
                    "precision": precision,
                    "plain": setting,
                    "seconds": seconds,
                    "ratio": seconds["plain"] / seconds["ours"],
                    "samples": {"ours": ours, **between.samples},
                }


def strict(step: Any) -> Any:
    """``step`` without TF32, whatever ours is allowed."""
    from vqbench.functional import float32_products

    def call() -> None:
        with float32_products():
            step()

    return call


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantizer", action="append", help="as in `vqbench profile`; otherwise " + ", ".join(ROWS))
    parser.add_argument("--dataset", action="append", choices=list(SHAPES))
    parser.add_argument("--precision", action="append", choices=["float32", "tf32", "bf16"])
    parser.add_argument("--plain", choices=["baseline", "closest", "headline"], help="hold every row against this one")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--num-codes", type=int, default=512)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a kept measurement, in Markdown")
    chosen = parser.parse_args(words)
    found = json.loads(chosen.show.read_text()) if chosen.show else measurement(chosen)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1) if chosen.json else table(found, "pipe" if chosen.show else "simple"))


def measurement(chosen: argparse.Namespace) -> dict[str, Any]:
    """All rows, and the machine that they were measured on."""
    rows = list(measured(chosen))
    from vqbench.system.provenance import machine_facts
    from vqbench.training.engine import Engine

    return {"machine": machine_facts(Engine(chosen.device).device), "repeat": chosen.repeat, "rows": rows}


def table(found: dict[str, Any], style: str) -> str:
    """Format the measurement as a table."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine = found["machine"]
    lines = [
        [
            *(row[key] for key in ("quantizer", "dataset", "batch", "precision")),
            *(f"{row['seconds'][side]:.3f}" for side in ("ours", "plain")),
            row["plain"],
            f"{row['ratio']:.2f}",
        ]
        for row in found["rows"]
    ]
    head = f"{origins_of(machine)[0]}, torch {machine['versions']['torch']}"
    return "\n".join(
        [
            f"{head}, commit {machine['commit']}. Medians of {found['repeat']} rounds, ours and plain in turn; "
            "the plain step is in float32.",
            "",
            tabulate(lines, HEADS, style, disable_numparse=True, colalign=["left"] * 4 + ["right"] * 4),
        ]
    )


if __name__ == "__main__":
    main()
