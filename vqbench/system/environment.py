"""Environment variables of processes that train: threads, memory, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vqbench.errors import UsageError

# What glibc's allocator reads when a process starts: nothing is mapped for one tensor alone, and nothing is returned
# while the process lives. By default both happen with every large activation, so that each update pays anew for clean
# pages: 13 to 30 % of its CPU time, of 20,000 to 120,000 page faults. Kept, an update has next to none, and the peak
# grows by about a tenth. Pages of 2 MiB (THP_MEM_ALLOC_ENABLE) save less and cost more memory. No number depends on it.
KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}

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
