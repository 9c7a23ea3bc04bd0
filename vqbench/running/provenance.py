"""What is told of how a number came about: code, libraries, machine. Never part of a run's key."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import vqbench

LIBRARIES = ("torch", "numpy", "lightning-fabric", "lpips", "torch-fidelity", "scikit-image", "pillow", "diffusers")


@cache
def commit() -> str | None:
    """The commit of the checkout that this code runs from, marked ``+`` if files differ from it; None if installed."""
    root = Path(vqbench.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()


def versions() -> dict[str, str]:
    """Versions of vqbench, Python and the libraries that numbers depend on."""
    found = {"vqbench": vqbench.__version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "missing"
    return found


def processor() -> str:
    """The CPU's name, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def made(device: Any) -> dict[str, Any]:
    """Commit, versions, device and date, for a record. ``device`` is a torch.device."""
    import torch

    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "commit": commit(),
        "versions": versions(),
        "device": gpu or processor(),
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
