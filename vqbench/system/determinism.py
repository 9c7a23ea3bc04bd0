"""The switch that makes a GPU compute the same bits every time, as CPUs do without it.

By default a GPU adds up gradients of codebooks and of convolutions in whatever order its threads finish: a run that is
repeated or resumed differs by rounding, which training amplifies. Under the switch, and on the same model of GPU with
the same versions, it does not; an operation that has no such implementation ends the run with its name.
"""

from __future__ import annotations

import os
import re

VARIABLE = "VQBENCH_DETERMINISTIC"  # read by every process that trains
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read by cuBLAS when a process first uses it


def demand() -> None:
    """Turn the switch on for this process and all that it starts."""
    os.environ[VARIABLE] = "1"
    os.environ.setdefault(CUBLAS, ":4096:8")


def demanded() -> bool:
    return os.environ.get(VARIABLE) == "1"


def apply() -> None:
    """Set torch as the switch says, before anything is computed; off, it leaves what the user has set."""
    if not demanded():
        return
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def refused(error: Exception) -> str | None:
    """The operation that ``error`` is about, if torch has no deterministic implementation of it on a device."""
    found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    return found and found[1]
