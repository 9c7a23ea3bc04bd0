"""The most memory that a piece of work held, beyond what was held before it."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak(work: Callable[[], object], device: torch.device) -> tuple[int, str]:
    """Bytes that ``work`` held at its most beyond what was held before, and what told so.

    On a GPU by torch's allocator. On a CPU by the process's resident set: ``work`` should be the process's first of
    its kind, since memory that was freed but not given back to the system is used again without being seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, "torch.cuda.max_memory_allocated"
    try:
        RESET.write_text("5")  # Linux: the high-water mark starts again from the resident set
    except OSError:
        before = _high_water()  # of the whole process until now, so that a smaller peak of the work is not seen
        work()
        return _high_water() - before, "growth of ru_maxrss"
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before, "VmHWM"


def _status(field: str) -> int:
    """A size in /proc/self/status, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _high_water() -> int:
    """The largest resident set of this process so far, in bytes; macOS reports bytes, others kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
