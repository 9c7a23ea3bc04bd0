"""Record code, libraries and machine of values; never part of the key of a run."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import vqbench
from vqbench.system.machine import device_name

LIBRARIES = ("torch", "numpy", "lpips", "torch-fidelity", "scikit-image", "pillow", "diffusers")
GIT_SECONDS = 5.0  # a checkout on a slow network disk must not delay a run or `doctor`


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this code runs from.

    It has a ``+`` if files differ; None if vqbench is installed.
    """
    root = Path(vqbench.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
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
            installed[library] = "missing"
    return installed


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
