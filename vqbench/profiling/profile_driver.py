"""Profile quantizers, each row in a fresh process, and keep the results.

Tables are printed from the kept results alone.
"""

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
from vqbench.profiling import profile_tables
from vqbench.profiling.subjects import Size, Subject, size, subjects
from vqbench.system import jsontext, processes
from vqbench.system.environment import LARGE_PAGES, waiting
from vqbench.system.stored_files import write_atomically

SIZES = ("50176,512,64",)  # a batch of 1,024 images of MNIST at the codebook of the small-data tables


@dataclass(frozen=True)
class ProfileRequest:
    """The rows to measure and how; empty lists stand for the defaults."""

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


def profile(
    wanted: ProfileRequest, output: Path | None = None, style: str = "text", quiet: bool = True
) -> dict[str, Any]:
    """Measure what is ``wanted``, and keep it in ``output`` if given.

    Return the profile; a row that could not be measured has an ``error``. Raises UsageError for wrong arguments, before
    anything is measured.
    """
    rows = _checked(wanted, output, style)
    plugins = [str(Path(path).resolve()) for path in wanted.plugins]
    common = {"threads": wanted.threads, "plugins": plugins}
    machines: dict[str, Any] = {}
    ceilings: dict[str, Any] = {}
    lines = []
    for device in wanted.devices or ["auto"]:
        if wanted.cost:
            _measure_peak_rates(ceilings, {"device": device, **common}, quiet)
        for subject in rows:
            n, k, d = subject.size.n, subject.size.k, subject.size.d
            at: dict[str, Any] = {"label": subject.label, "N": n, "K": k, "D": d}
            _report(f"{subject.label}, N = {n:,}, K = {k:,}, D = {d:,}", quiet)
            options = {name: getattr(wanted, name) for name in ("precision", "repeat", "step", "cost")}
            try:
                result = _measured({"what": "row", "subject": subject.to_dict(), "device": device, **options, **common})
            except RunError as error:
                lines.append({**at, "device": device, "error": str(error)})
                continue
            machines[result["device"]] = result.pop("machine")
            plugin = {"name": subject.name, "version": subject.version, "args": subject.args}
            lines.append(profile_tables.finished({**at, "quantizer": plugin, **result}))
        if wanted.cost:
            _measure_peak_rates(ceilings, {"device": device, **common}, quiet)
    kept = {
        "profile": profile_tables.FORMAT,
        "machines": machines,
        "dtype": "float32",
        "precision": wanted.precision,
        "repeat": wanted.repeat,
        **({"ceilings": ceilings} if wanted.cost else {}),
        "rows": lines,
    }
    if output is not None:
        write_atomically(output, (jsontext.dumps(kept) + "\n").encode())
    return kept


def _checked(wanted: ProfileRequest, output: Path | None, style: str) -> list[Subject]:
    """Return the rows to measure. Raises UsageError or StoreError."""
    if style not in profile_tables.STYLES:
        raise UsageError(f"unknown format {style!r}; {nearest(style, profile_tables.STYLES)}")
    if output is not None and not output.absolute().parent.is_dir():
        raise StoreError(f"{output}: its folder does not exist; create it first")
    sizes: list[Size] = [size(text) for text in wanted.sizes or SIZES]
    rows = subjects(wanted.names, wanted.against, sizes)
    from vqbench.training.engine import Engine, Precision

    if wanted.precision not in get_args(Precision):
        raise UsageError(f"unknown precision {wanted.precision!r}; {nearest(wanted.precision, get_args(Precision))}")
    for device in wanted.devices:
        Engine(device)  # raises for a device that this machine lacks
    if wanted.cost:
        from vqbench.profiling.timing import images

        if not wanted.step or not any(images(at.n) for at in sizes):
            raise UsageError("--cost needs a training step: an N that 49 or 64 divides, and no --no-step")
    return rows


def _measure_peak_rates(known: dict[str, Any], job: dict[str, Any], quiet: bool) -> None:
    """Measure the peak rates of a device, and keep the best so far.

    This is done before its rows and after them, since nothing can exceed these rates.
    """
    _report("peak rates", quiet)
    result = _measured({"what": "ceilings", **job})
    before = known.get(result["device"], result["ceilings"])
    least = {"launch"}  # seconds; the others are rates
    known[result["device"]] = {
        name: (min if name in least else max)(value, before[name]) for name, value in result["ceilings"].items()
    }


def _measured(job: dict[str, Any]) -> dict[str, Any]:
    """Return what a fresh process measures.

    Raises RunError if that fails, and UsageError for wrong arguments.
    """
    env = {**LARGE_PAGES, **os.environ, **waiting(os.environ)}
    command = processes.command("vqbench.profiling.profile_worker")
    done = subprocess.run(
        command, input=json.dumps(job), capture_output=True, encoding="utf-8", errors="replace", env=env
    )
    if done.returncode < 0:
        raise RunError(f"its process was killed by signal {-done.returncode}; out of memory?")
    if done.returncode:
        raise RunError(f"its process failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    if not done.stdout.strip():
        raise RunError("its process ended without a result; does the plugin call sys.exit?")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result.get("exit_code") == UsageError.exit_code:
        raise UsageError(result["error"])
    if "error" in result:
        raise RunError(result["error"])
    return result


def _report(sentence: str, quiet: bool) -> None:
    if not quiet:
        print(f"measuring {sentence}", file=sys.stderr)
