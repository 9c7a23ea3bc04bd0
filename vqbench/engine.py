"""Devices, precision and checkpoints: the one file that knows Lightning Fabric."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqbench import checkpoint
from vqbench.errors import UsageError

Precision = Literal["float32", "tf32", "bf16"]


class Engine:
    """One device at one precision.

    ``device`` is ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``. ``precision``: ``float32`` is
    strict, ``tf32`` lets a GPU round the factors of products to 10 bits, ``bf16`` computes the backbone under
    autocast. Quantizers always work in float32. Raises UsageError for a device that this machine lacks.
    """

    def __init__(self, device: str = "auto", precision: Precision = "float32") -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", module="lightning_fabric")
        from lightning_fabric import Fabric

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.device = _device(device)
        self.precision = precision
        self._fabric = Fabric(
            accelerator="cuda" if self.device.type == "cuda" else "cpu",
            devices=[self.device.index or 0] if self.device.type == "cuda" else 1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model and its optimizer, moved to the device and wrapped for its precision."""
        return self._fabric.setup(model, optimizer)

    def backward(self, loss: Tensor) -> None:
        self._fabric.backward(loss)

    def seed(self, seed: int) -> None:
        """Seed the default random generators of the CPU and of the device."""
        torch.manual_seed(seed)

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write ``state`` to ``path`` in one piece: whoever reads it sees the old or the new, never a part."""
        checkpoint.write(path, state)

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint onto the device. Raises Damaged if it is not what was written; the file is left."""
        return checkpoint.read(path, self.device)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported; known: auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UsageError(f"device {name!r} is not there: this machine has {count} usable GPUs; use --device cpu")
    return device
