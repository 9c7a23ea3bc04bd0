"""Compute deterministically on GPUs (``--deterministic``), as CPUs always do.

By default a GPU adds up gradients of codebooks and of convolutions in whatever order its threads finish: a run that is
repeated or resumed differs by rounding, which training amplifies. With this setting, on the same model of GPU and the
same versions, it does not; an operation without a deterministic implementation fails the run with its name.
"""

from __future__ import annotations

import os
import re

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read by cuBLAS when a process first uses it


def enable() -> None:
    """Make torch deterministic in this process, before anything is computed on a GPU."""
    os.environ.setdefault(CUBLAS, ":4096:8")
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def refused_operation(error: BaseException) -> str | None:
    """Return the operation in ``error`` that has no deterministic implementation."""
    match = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    return match and match[1]
