"""The command ``profile``: one fresh process a row, what they measured in one file, and tables from that file alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from vqbench.errors import RunError, StoreError, UsageError, nearest
from vqbench.execution.allocator import LARGE_PAGES
from vqbench.execution.wait_policy import waiting
from vqbench.profiling import report
from vqbench.profiling.subjects import Size, Subject, size, subjects
from vqbench.system import jsontext, processes
from vqbench.system.output import CommandOutput
from vqbench.system.writing import write_atomically

SIZES = ("50176,512,64",)  # a batch of 1,024 images of MNIST at the codebook of the small-data tables


@dataclass(frozen=True)
class ProfileRequest:
    """What is to be measured, as the command line says it; empty lists stand for the defaults."""

    names: Sequence[str] = ()
    against: Sequence[str] = ()
    sizes: Sequence[str] = ()
    devices: Sequence[str] = ()
    precision: str = "float32"
    repeat: int = 7
    threads: int | None = None
    step: bool = True
    cost: bool = False
    plugins: Sequence[Path] = ()


def shown(path: Path, style: str = "text", cost: bool = False, methods: bool = False) -> CommandOutput:
    """A kept profile."""
    profile = report.read(path)
    return CommandOutput(report.text(profile, style, cost, methods), profile)


def profile(
    wanted: ProfileRequest, output: Path | None = None, style: str = "text", quiet: bool = True
) -> tuple[int, CommandOutput]:
    """Measure what is wanted, keep it in ``output``: 0 and what was found; 1 if a row could not be measured.

    Raises UsageError, before anything is measured, for what cannot be asked for.
    """
    rows = _checked(wanted, output, style)
    plugins = [str(Path(path).resolve()) for path in wanted.plugins]
    common = {"threads": wanted.threads, "plugins": plugins}
    machines: dict[str, Any] = {}
    ceilings: dict[str, Any] = {}
    lines = []
    for device in wanted.devices or ["auto"]:
        if wanted.cost:
            _ceilings(ceilings, {"device": device, **common}, quiet)
        for subject in rows:
            n, k, d = subject.size.n, subject.size.k, subject.size.d
            at: dict[str, Any] = {"label": subject.label, "N": n, "K": k, "D": d}
            _say(f"{subject.label}, N = {n:,}, K = {k:,}, D = {d:,}", quiet)
            how = {name: getattr(wanted, name) for name in ("precision", "repeat", "step", "cost")}
            try:
                found = _measured({"what": "row", "subject": subject.to_dict(), "device": device, **how, **common})
            except RunError as error:
                lines.append({**at, "device": device, "error": str(error)})
                continue
            machines[found["device"]] = found.pop("machine")
            plug = {"name": subject.name, "version": subject.version, "args": subject.args}
            lines.append(report.finished({**at, "quantizer": plug, **found}))
        if wanted.cost:
            _ceilings(ceilings, {"device": device, **common}, quiet)
    kept = {
        "profile": report.FORMAT,
        "machines": machines,
        "dtype": "float32",
        "precision": wanted.precision,
        "repeat": wanted.repeat,
        **({"ceilings": ceilings} if wanted.cost else {}),
        "rows": lines,
    }
    if output is not None:
        write_atomically(output, (jsontext.dumps(kept) + "\n").encode())
    return int(any("error" in line for line in lines)), CommandOutput(report.text(kept, style, wanted.cost), kept)


def _checked(wanted: ProfileRequest, output: Path | None, style: str) -> list[Subject]:
    """The rows to measure, once all that was asked for can be done."""
    if style not in report.STYLES:
        raise UsageError(f"unknown format {style!r}; {nearest(style, report.STYLES)}")
    if output is not None and not output.absolute().parent.is_dir():
        raise StoreError(f"{output}: its folder is not there; make it first")
    sizes: list[Size] = [size(text) for text in wanted.sizes or SIZES]
    found = subjects(wanted.names, wanted.against, sizes)
    from vqbench.training.engine import Engine, Precision

    if wanted.precision not in get_args(Precision):
        raise UsageError(f"unknown precision {wanted.precision!r}; {nearest(wanted.precision, get_args(Precision))}")
    for device in wanted.devices:
        Engine(device)  # raises for a device that this machine lacks
    if wanted.cost:
        from vqbench.profiling.timing import images

        if not wanted.step or not any(images(at.n) for at in sizes):
            raise UsageError("--cost needs a training step: an N that 49 or 64 divides, and no --no-step")
    return found


def _ceilings(known: dict[str, Any], job: dict[str, Any], quiet: bool) -> None:
    """Measure the ceilings of a device, before its rows and after them, and keep the best: nothing can exceed them."""
    _say("ceilings", quiet)
    found = _measured({"what": "ceilings", **job})
    before = known.get(found["device"], found["ceilings"])
    least = {"launch"}  # seconds; the others are rates
    known[found["device"]] = {
        name: (min if name in least else max)(value, before[name]) for name, value in found["ceilings"].items()
    }


def _measured(job: dict[str, Any]) -> dict[str, Any]:
    """What a fresh process finds. Raises RunError if it cannot be measured, and UsageError if it was asked wrongly."""
    timed = {"VQBENCH_CHECKPOINT_EVERY": "inf"}  # the step is timed in the recipe's loop
    env = {**LARGE_PAGES, **processes.environment(), **waiting(os.environ), **timed}
    command = processes.command("vqbench.profiling.worker")
    done = subprocess.run(
        command, input=json.dumps(job), capture_output=True, encoding="utf-8", errors="replace", env=env
    )
    if done.returncode < 0:
        raise RunError(f"its process was ended by signal {-done.returncode}; out of memory?")
    if done.returncode:
        raise RunError(f"its process failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found.get("exit_code") == UsageError.exit_code:
        raise UsageError(found["error"])
    if "error" in found:
        raise RunError(found["error"])
    return found


def _say(sentence: str, quiet: bool) -> None:
    if not quiet:
        print(f"measuring {sentence}", file=sys.stderr)
