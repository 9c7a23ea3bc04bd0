"""Measure the peak memory of a piece of work."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak(work: Callable[[], object], device: torch.device) -> tuple[int, str]:
    """Return the peak bytes of ``work`` beyond those before, and their source.

    On a GPU they are those of torch's allocator. On a CPU they are the process's resident set, so ``work`` should be
    the first of its kind in the process: memory that was freed but not returned to the system is reused unseen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, "torch.cuda.max_memory_allocated"
    try:
        RESET.write_text("5")  # Linux: reset the high-water mark to the resident set
    except OSError:
        before = _high_water()  # of the whole process so far; a smaller peak of the work goes unseen
        work()
        return _high_water() - before, "growth of ru_maxrss"
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before, "VmHWM"


def _status(field: str) -> int:
    """Read a size in /proc/self/status, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _high_water() -> int:
    """Return the largest resident set of this process so far, in bytes.

    macOS reports bytes, others kilobytes.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
