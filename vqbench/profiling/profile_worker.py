"""Measure one quantizer at one size, or a device's peak rates.

The job is JSON on stdin, the result JSON on stdout.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vqbench import registry
from vqbench.errors import VqbenchError
from vqbench.profiling import peak_memory, roofline
from vqbench.profiling.method_facts import facts
from vqbench.profiling.subjects import Size, Subject
from vqbench.profiling.timing import (
    WARM_UP,
    Rounds,
    StepTimer,
    backward,
    bare_product,
    feature_map,
    images,
    quantizer_calls,
)
from vqbench.quantizer import Quantizer
from vqbench.system.provenance import machine_facts
from vqbench.training.engine import Engine

TINY = Size(64, 16, 0)  # features and codes of a first step, before memory is measured


def peak_rates(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the peak rates of a device."""
    device = Engine(job["device"]).device
    return {"device": str(device), "machine": machine_facts(device), "ceilings": roofline.peak_rates(device)}


def row(job: dict[str, Any]) -> dict[str, Any]:
    """Measure a row of the profile: memory first, while the process is fresh."""
    subject = Subject.from_dict(job["subject"])
    device = Engine(job["device"], job["precision"]).device
    n, k, d = subject.size.n, subject.size.k, subject.size.d
    torch.manual_seed(0)
    peak_bytes, peak_source = quantizer_memory(subject, device)

    calls = {"product": bare_product(n, k, d, device), **quantizer_calls(made_of(subject, device), n, device)}
    like = images(n) if job["step"] else None
    step = StepTimer(subject, like, job["precision"], job["device"]) if like else None
    parts = roofline.parts(step, device) if step and job["cost"] else {}
    rounds, within = Rounds(calls, device), dict[str, list[float]]()
    if step:
        samples = {"step": step.timed(rounds, job["repeat"], within if parts else None), **rounds.samples}
    else:
        for turn in range(WARM_UP + job["repeat"]):
            rounds.turn(counted=turn >= WARM_UP)
        samples = rounds.samples
    result: dict[str, Any] = {
        "device": str(device),
        "machine": machine_facts(device),
        "batch": [like.batch, like.channels, like.size, like.size] if like else None,
        "seconds": {name: statistics.median(values) for name, values in samples.items()},
        "samples": samples,
        "method": facts(made_of(subject, device, Size(TINY.n, k, d)), feature_map(TINY.n, d, device)),
        "peak_bytes": peak_bytes,
        "peak_told_by": peak_source,
    }
    if step and parts:
        result["update_seconds"], seconds = median_update(samples["step"], within)
        result["parts"] = [
            {
                "part": name,
                "operations": part.operations,
                "bytes": part.bytes,
                "type": part.type,
                "launches": part.launches,
                "seconds": seconds[name],
            }
            for name, part in parts.items()
        ]
        result["rest_bytes"] = roofline.rest(step)
    return result


def median_update(steps: Sequence[float], within: Mapping[str, Sequence[float]]) -> tuple[float, dict[str, float]]:
    """Return the seconds of the update of median length, and of its parts.

    Parts of one update sum to it, but for the rest. The median of each part would not, by some percent.
    """
    middle = list(steps).index(statistics.median_low(steps))
    return steps[middle], {part: seconds[middle] for part, seconds in within.items()}


def quantizer_memory(subject: Subject, device: torch.device) -> tuple[int, str]:
    """Return the peak bytes of two training steps of the quantizer alone.

    Features, gradients and Adam's state are included.

    A tiny step goes first, so that libraries and threads, which a first step loads, are not counted.
    """
    two_steps(subject, Size(TINY.n, TINY.k, subject.size.d), device)
    return peak_memory.peak(lambda: two_steps(subject, subject.size, device), device)


def two_steps(subject: Subject, size: Size, device: torch.device) -> None:
    """Run forward, backward and Adam twice.

    In the second step Adam's moments exist from the start.
    """
    quantizer = made_of(subject, device, size)
    parameters = [parameter for parameter in quantizer.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(parameters) if parameters else None
    z = feature_map(size.n, size.d, device).requires_grad_()
    upstream = feature_map(size.n, size.d, device)
    quantizer.train()
    for _ in range(2):
        z.grad = None
        quantizer.zero_grad()
        backward(quantizer(z), upstream)
        if adam:
            adam.step()


def made_of(subject: Subject, device: torch.device, size: Size | None = None) -> Quantizer:
    """Build the untrained quantizer, at its own or another size."""
    size = size or subject.size
    args = {**subject.args, "num_codes": size.k, "dim": size.d}
    quantizer: Quantizer = registry.load("quantizers", subject.name)(**args)
    return quantizer.to(device)


def main() -> None:
    """Carry out the job on stdin, and print its result or its error.

    It is the last line of stdout.
    """
    job = json.load(sys.stdin)
    for path in job["plugins"]:
        registry.add_file(path)
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    try:
        result = {"ceilings": peak_rates, "row": row}[job["what"]](job)
    except VqbenchError as error:
        result = {"error": str(error), "exit_code": error.exit_code}
    except (RuntimeError, MemoryError) as error:  # probably too large for the machine
        result = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'out of memory'}"}
    print(json.dumps(result, allow_nan=False))


if __name__ == "__main__":
    main()
