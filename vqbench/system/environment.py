"""Environment variables of processes that train: threads, memory, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vqbench.errors import UsageError

# torch's switch for pages of 2 MiB under large tensors, which it reads when it makes its first one. On Linux with a
# processor, each step otherwise pays for every 4 KiB of its activations anew: about a seventh of its time. No number
# depends on it. (glibc can be set to return nothing. That saves more, but its heap then grows by a whole tensor at many
# allocations: until version 2.37 it seldom reuses the place of an aligned block for one of the same size.)
LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}

# What OpenMP runtimes (libgomp in torch's Linux wheels, libomp elsewhere) read when they are loaded, so with torch.
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")

# By default libgomp spins 300,000 times, some milliseconds: beside one other busy process on two cores the same
# training took 3 to 13 times as long as with threads that sleep at once. Those cost small layers some speed on a quiet
# machine, 2,000 turns cost nothing there and a tenth to a fifth on a busy one.
BRIEFLY = {"GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "1"}
NEVER = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}

CHECKPOINT_EVERY = "VQBENCH_CHECKPOINT_EVERY"


def waiting(environment: Mapping[str, str], processes: int = 1) -> Mapping[str, str]:
    """Return the variables that limit how long idle threads spin.

    ``processes`` is the number of processes side by side. Empty where the user has set any such variable in
    ``environment``; what the driver set for itself is not the user's. No result depends on them.
    """
    given = {name: environment[name] for name in SETTINGS if name in environment}
    if given and given != BRIEFLY:
        return {}
    return BRIEFLY if processes == 1 else NEVER


def checkpoint_interval() -> float:
    """Read the seconds between checkpoints from the environment.

    ``VQBENCH_CHECKPOINT_EVERY``, by default 15.

    When checkpoints are written does not change what is trained. Raises UsageError for a value that is no number of
    seconds.
    """
    text = os.environ.get(CHECKPOINT_EVERY, "15")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # nor NaN
        raise UsageError(f"{CHECKPOINT_EVERY}={text[:20]}: not a number of seconds; unset it or write one")
    return seconds


def count_gpus(devices: Path = Path("/dev")) -> int:
    """Count NVIDIA's GPUs that a run on this machine may use, without loading torch.

    ``CUDA_VISIBLE_DEVICES`` limits them. 0 where the system has no such device files.
    """
    found = len(list(devices.glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    return min(found, sum(name.strip() not in ("", "-1") for name in visible.split(",")))
