"""Make a GPU compute the same bits every time, as CPUs do anyway.

By default a GPU adds up gradients of codebooks and of convolutions in the order in which its threads finish, so that a
run that is repeated or resumed differs by rounding, which training amplifies. With ``--deterministic`` it does not, on
the same model of GPU with the same versions; a run fails at an operation that has no deterministic implementation.
"""

from __future__ import annotations

import os
import re

VARIABLE = "VQBENCH_DETERMINISTIC"  # read by every process that trains
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read by cuBLAS when a process first uses it


def demand() -> None:
    """Turn determinism on for this process and all that it starts."""
    os.environ[VARIABLE] = "1"
    os.environ.setdefault(CUBLAS, ":4096:8")


def demanded() -> bool:
    """Return whether determinism is on."""
    return os.environ.get(VARIABLE) == "1"


def apply() -> None:
    """Set torch's switches, before anything is computed, if determinism is on; else leave them as the user set them."""
    if not demanded():
        return
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def refused(error: Exception) -> str | None:
    """Return the operation in ``error`` that has no deterministic implementation; None for other errors."""
    match = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    return match and match[1]
