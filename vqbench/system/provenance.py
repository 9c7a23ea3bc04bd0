"""Code, libraries and machines of values; never part of the key of a run."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import vqbench

LIBRARIES = ("torch", "numpy", "lpips", "torch-fidelity", "scikit-image", "pillow", "diffusers")
NOT_INSTALLED = "missing"  # what a record says instead of the version of an optional package
BUILT_FROM = "built_from.txt"  # in the package, written by setup.py: the commit that a wheel or an sdist was built from
# Environment variables that cap the instructions of torch, oneDNN and MKL, then other names for the last two.
INSTRUCTION_CAPS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
OTHER_CAPS = ("DNNL_MAX_CPU_ISA", "MKL_CBWR")
GIT_SECONDS = 5.0  # a checkout on a slow network disk must not delay a run or `doctor`


@dataclass(frozen=True)
class Origin:
    """The device that trained, and what else of a CPU changes the last digits.

    Two origins are equal only if all their fields are. What a record lacks is empty, never guessed.
    """

    device: str  # the name of the GPU or, without one, of the processor
    cpu: str = ""
    instructions: str = ""  # of ``instructions``, such as "AVX512"
    threads: int | None = None

    def __str__(self) -> str:
        threads = "" if self.threads is None else f"{self.threads} thread{'s' * (self.threads != 1)}"
        cpu = self.cpu if self.cpu != self.device else ""
        details = ", ".join(filter(None, (cpu, self.instructions, threads)))
        return f"{self.device} ({details})" if details else self.device


def origins_of(made: Mapping[str, Any]) -> tuple[Origin, ...]:
    """Return the distinct origins in the ``made`` of a record, in order.

    A record without a list of origins names one device, which is its only origin.
    """
    listed: Iterable[Mapping[str, Any]] = made.get("origins") or [made]
    return tuple(dict.fromkeys(_origin(each) for each in listed))


def same_origin(a: Iterable[Origin], b: Iterable[Origin]) -> bool:
    """Return whether two runs were trained on the same machines."""
    return frozenset(a) == frozenset(b)


def _origin(recorded: Mapping[str, Any]) -> Origin:
    words = {name: str(recorded.get(name) or "") for name in ("device", "cpu", "instructions")}
    return Origin(**words, threads=recorded.get("threads"))


def processor() -> str:
    """Return the name of the CPU, as far as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: Any) -> str:
    """Return the name of the GPU or CPU of a torch.device."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def origin(device: Any) -> dict[str, Any]:
    """Return the names of device and CPU, torch's instruction set and thread count."""
    import torch

    return {
        "device": device_name(device),
        "cpu": processor(),
        "instructions": instructions(torch.backends.cpu.get_cpu_capability()),
        "threads": torch.get_num_threads(),
    }


def instructions(chosen: str) -> str:
    """Return the instruction set that torch ``chose``, and caps that differ from it.

    torch, oneDNN and MKL choose for themselves. Where all three are capped at one set, they round as on a processor
    that has no better one, so that its name says all.
    """
    caps = {name: value for name in (*INSTRUCTION_CAPS, *OTHER_CAPS) if (value := os.environ.get(name))}
    capped = {name: value.upper() for name, value in caps.items()}
    if not caps or capped == dict.fromkeys(INSTRUCTION_CAPS, chosen.upper()):
        return chosen
    return ", ".join([chosen, *(f"{name}={value}" for name, value in caps.items())])


@cache
def commit() -> str | None:
    """Return the commit that this code runs from, or was built from.

    It has a ``+`` if files differ; None where neither is known.
    """
    package = Path(vqbench.__file__).resolve().parent
    root = package.parent
    try:
        if not (root / ".git").exists():
            return (package / BUILT_FROM).read_text(encoding="utf-8").strip()
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    """Return the output of git. Raises SubprocessError, also after GIT_SECONDS."""
    result = subprocess.run(
        ["git", "-C", str(root), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # it writes nothing, so it waits for no other git
    )
    return result.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of vqbench, Python and libraries that values depend on."""
    installed = {"vqbench": vqbench.__version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            installed[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            installed[library] = NOT_INSTALLED
    return installed


def machine_facts(device: Any) -> dict[str, Any]:
    """Return what a table of times names: commit, versions and the machine.

    ``device`` is a torch.device. ``origins_of`` reads the machine from it.
    """
    return {**current_provenance(device), **origin(device)}


def current_provenance(device: Any) -> dict[str, Any]:
    """Return commit, versions, device and date, for the ``made`` of a record.

    ``device`` is a torch.device.
    """
    import torch

    return {
        "commit": commit(),
        "versions": versions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
