"""The machine that a training was done on: what numbers may depend on, beside code and libraries."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any


def processor() -> str:
    """The CPU's name, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: Any) -> str:
    """The name of a GPU, or of the CPU, that a torch.device stands for."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def origin(device: Any) -> dict[str, Any]:
    """Device and CPU by name, the instruction set that torch uses of the CPU, and the number of threads."""
    import torch

    return {
        "device": device_name(device),
        "cpu": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
