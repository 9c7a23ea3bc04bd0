"""What a fresh process measures: one quantizer at one size, or the ceilings of a device. JSON in, JSON out."""

from __future__ import annotations

import json
import statistics
import sys
from typing import Any

import torch

from vqbench import registry
from vqbench.errors import VqbenchError
from vqbench.execution.provenance import made
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
from vqbench.system import console
from vqbench.training.engine import Engine

TINY = Size(64, 16, 0)  # features and codes of what is done once before memory is looked at


def ceilings(job: dict[str, Any]) -> dict[str, Any]:
    """The ceilings of a device."""
    device = Engine(job["device"]).device
    return {"device": str(device), "machine": made(device), "ceilings": roofline.ceilings(device)}


def row(job: dict[str, Any]) -> dict[str, Any]:
    """Memory first, while the process is fresh, then times; a row of the report."""
    subject = Subject.from_dict(job["subject"])
    device = Engine(job["device"], job["precision"]).device
    n, k, d = subject.size.n, subject.size.k, subject.size.d
    torch.manual_seed(0)
    held, told_by = quantizer_memory(subject, device)

    calls = {"product": bare_product(n, k, d, device), **quantizer_calls(made_of(subject, device), n, device)}
    like = images(n) if job["step"] else None
    step = StepTimer(subject, like, job["precision"], job["device"]) if like else None
    parts = roofline.parts(step, device) if step and job["cost"] else {}
    rounds = Rounds({**calls, **{f"part {name}": part.call for name, part in parts.items()}}, device)
    if step:
        samples = {"step": step.timed(rounds, job["repeat"]), **rounds.samples}
    else:
        for turn in range(WARM_UP + job["repeat"]):
            rounds.turn(counted=turn >= WARM_UP)
        samples = rounds.samples
    found: dict[str, Any] = {
        "device": str(device),
        "machine": made(device),
        "batch": [like.batch, like.channels, like.size, like.size] if like else None,
        "seconds": {name: statistics.median(values) for name, values in samples.items() if not name.startswith("part")},
        "samples": {name: values for name, values in samples.items() if not name.startswith("part")},
        "method": facts(made_of(subject, device, Size(TINY.n, k, d)), feature_map(TINY.n, d, device)),
        "peak_bytes": held,
        "peak_told_by": told_by,
    }
    if step and parts:
        found["parts"] = [
            {
                "part": name,
                "operations": part.operations,
                "bytes": part.bytes,
                "type": part.type,
                "launches": part.launches,
                "seconds": statistics.median(samples[f"part {name}"]),
            }
            for name, part in parts.items()
        ]
        found["rest_bytes"] = roofline.rest(step)
    return found


def quantizer_memory(subject: Subject, device: torch.device) -> tuple[int, str]:
    """Bytes at the most of two training steps of the quantizer alone: features, gradients and Adam's state included.

    What a first step loads and keeps, whatever its size (libraries, threads), is no part of it: a tiny one goes before.
    """
    two_steps(subject, Size(TINY.n, TINY.k, subject.size.d), device)
    return peak_memory.peak(lambda: two_steps(subject, subject.size, device), device)


def two_steps(subject: Subject, size: Size, device: torch.device) -> None:
    """Forward, backward and Adam, twice: the second with Adam's moments there from the start."""
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
    """The quantizer, untrained, at its own or another size."""
    size = size or subject.size
    args = {**subject.args, "num_codes": size.k, "dim": size.d}
    quantizer: Quantizer = registry.load("quantizers", subject.name)(**args)
    return quantizer.to(device)


def main() -> None:
    """Carry out the job on stdin; what comes of it, or a sentence on what went wrong, is the last line of stdout."""
    console.read_by_another()
    job = json.load(sys.stdin)
    for path in job["plugins"]:
        registry.add_file(path)
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    try:
        found = {"ceilings": ceilings, "row": row}[job["what"]](job)
    except VqbenchError as error:
        found = {"error": str(error), "exit_code": error.exit_code}
    except (RuntimeError, MemoryError) as error:  # too large for the machine, as far as torch can tell
        found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'out of memory'}"}
    print(json.dumps(found, allow_nan=False))


if __name__ == "__main__":
    main()
