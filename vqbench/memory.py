"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's names for two settings of its allocator (malloc.h)


@cache
def keep_freed() -> bool:
    """Let freed memory serve the next step instead of going back to the system; whether that could be arranged.

    glibc maps every large block anew and unmaps it when it is freed, so each step pays for every page of its
    activations again: a sixth to a quarter of the time of a training step on a processor. No number depends on it.
    Elsewhere (other C libraries, other systems) nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
