"""The machines that trained a run, as its record lists them: what values of different machines are told apart by."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Origin:
    """One machine: the make of the device that trained, and of a processor what else moves the last digits.

    Two origins are equal only where everything known of them is; what a record lacks is empty, never guessed.
    """

    device: str  # the name of the GPU or, without one, of the processor
    cpu: str = ""
    instructions: str = ""  # the instruction set that torch chose, such as "AVX512"
    threads: int | None = None

    def __str__(self) -> str:
        threads = "" if self.threads is None else f"{self.threads} thread{'s' * (self.threads != 1)}"
        cpu = self.cpu if self.cpu != self.device else ""
        details = ", ".join(filter(None, (cpu, self.instructions, threads)))
        return f"{self.device} ({details})" if details else self.device


def origins_of(made: Mapping[str, Any]) -> tuple[Origin, ...]:
    """The distinct origins in the ``made`` of a record, in order; of a record without a list, the one that it names."""
    listed: Iterable[Mapping[str, Any]] = made.get("origins") or [made]
    return tuple(dict.fromkeys(_origin(each) for each in listed))


def same_origin(a: Iterable[Origin], b: Iterable[Origin]) -> bool:
    """Whether two runs were trained by the same machines, so that their values differ by what was trained alone."""
    return frozenset(a) == frozenset(b)


def _origin(told: Mapping[str, Any]) -> Origin:
    words = {name: str(told.get(name) or "") for name in ("device", "cpu", "instructions")}
    return Origin(**words, threads=told.get("threads"))


def processor() -> str:
    """The CPU's name, as far as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
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
