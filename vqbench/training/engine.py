"""Devices, precision, gradients over the ranks and checkpoints, as all recipes need them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqbench.distributed import collectives, gradients
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import RunError, UsageError
from vqbench.functional.precision import allow_tf32
from vqbench.system.machine import origin
from vqbench.training import checkpoint

Precision = Literal["float32", "tf32", "bf16"]


class Engine:
    """One device at one precision, or one of a ``group`` of ranks that train together, each with a device of its own.

    ``device`` is ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``; with several ranks the first
    one's, and GPUs follow in order. ``precision``: ``float32`` is strict, ``tf32`` lets a GPU round the factors of
    the backbone's products to 10 bits, ``bf16`` computes the backbone under autocast. Quantizers always work in
    float32, forward and backward. Raises UsageError for a device that this machine lacks. The same CPU with the same
    number of threads gives the same bits every time; the same GPU does so under ``--deterministic``
    (:mod:`vqbench.system.determinism`).

    Several ranks are data-parallel: each computes its part of a batch, gradients are added up, and quantizers exchange
    what they must. Buffers are not copied from one rank to the others, which would hide a missing exchange.
    """

    def __init__(self, device: str = "auto", precision: Precision = "float32", group: RankGroup = ALONE) -> None:
        self.device = devices_of(device, group.local_size)[group.local_rank]
        self.precision, self.group = precision, group
        self._modules: list[nn.Module] = []  # whose gradients ``backward`` adds up over the ranks
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device.index or 0)
        allow_tf32(precision == "tf32")

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Move ``model`` to the device, with equal parameters on all ranks, and return it at this precision.

        Call the returned module where the loss is computed. The optimizer is returned as it is.
        """
        model.to(self.device)
        self._modules.append(model)
        if self.group.size > 1:
            collectives.broadcast_tensors(parameter.detach() for parameter in model.parameters())
        return (model if self.precision != "bf16" else _Autocast(model, self.device.type)), optimizer

    @contextmanager
    def batch(self, count: int, model: nn.Module) -> Iterator[slice]:
        """Share a batch of ``count`` images between the ranks within this context, which gives this rank's images.

        Parts may differ by an image. A batch of fewer images than ranks is computed as a whole by each of them, as
        one device would, and ``model`` is then copied from rank 0, so that it stays equal bit by bit.
        """
        if self.group.size == 1:
            yield slice(0, count)
        elif count < self.group.size:
            with collectives.WholeBatch():
                yield slice(0, count)
            collectives.broadcast_tensors(model.state_dict().values())
        else:
            with collectives.SharedBatch(count):
                yield collectives.part(count, self.group.rank, self.group.size)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context that computes in this precision, for recipes that train several modules and set up none."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the batch's loss, the mean of the ranks' ``loss`` weighted by their images."""
        gradients.share(loss).backward()
        for module in self._modules:
            gradients.sum_gradients(module)

    def mean(self, values: Tensor) -> Tensor:
        """Average means over this rank's images to means over the batch, on all ranks, without a gradient."""
        return gradients.mean(values)

    def seed(self, seed: int) -> None:
        """Seed the default random generators of the CPU and of the device."""
        torch.manual_seed(seed)

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write the first rank's ``state`` to ``path`` in one piece: whoever reads it sees the old or the new, never a
        part. Raises Unwritable, on all ranks, where it cannot be."""
        self.group.agree(lambda: checkpoint.write(path, state))

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint onto the CPU, from where ``load_state_dict`` takes it to the device; the first rank reads.

        Raises, on all ranks, Damaged if it is not what was written, and StoreError if it cannot be read; it is left.
        """
        return self.group.agree(lambda: checkpoint.read(path))

    @contextmanager
    def restoring(self, path: Path) -> Iterator[None]:
        """While what was loaded from ``path`` is put in its place. Raises Damaged if it is of another run."""
        with checkpoint.restoring(path):
            yield

    def add_origin(self, origins: list[dict[str, Any]]) -> None:
        """Add the machines of all ranks to those that a training was done on so far. All ranks have to call this."""
        for each in self.group.gather(origin(self.device)):
            if each not in origins:
                origins.append(each)

    def require_equal(self, model: nn.Module, told: str) -> None:
        """Raises RunError, on all ranks, unless all hold the same weights and buffers, bit for bit."""
        if self.group.size == 1:
            return
        first, *others = self.group.gather({name: _digest(value) for name, value in model.state_dict().items()})
        apart = [name for name, digest in first.items() if any(other[name] != digest for other in others)]
        if apart:
            raise RunError(
                f"ranks diverged: {', '.join(apart[:5])} of {told} differ between devices; exchange statistics by "
                "vqbench.functional (`vqbench check` says where), or declare distributed = False"
            )


def _digest(value: Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data).hexdigest()


class _Autocast(nn.Module):
    """A module under autocast, with bfloat16 inputs and float32 outputs."""

    def __init__(self, module: nn.Module, device_type: str) -> None:
        super().__init__()
        self.module, self.device_type = module, device_type

    def forward(self, *inputs: Tensor) -> Any:
        with torch.autocast(self.device_type, torch.bfloat16):
            outputs = self.module(*(_converted(each, torch.bfloat16) for each in inputs))
        if isinstance(outputs, tuple):  # a reconstruction, and what the quantizer computed in float32
            return tuple(_converted(each, torch.float32) for each in outputs)
        return _converted(outputs, torch.float32)


def _converted(value: Any, dtype: torch.dtype) -> Any:
    """Return floating-point tensors in ``dtype``, and everything else as it is."""
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def devices_of(name: str, count: int) -> list[torch.device]:
    """The ``count`` devices from the one called ``name`` on. Raises UsageError for those that this machine lacks."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported; known: auto, cpu, cuda, cuda:N")
    if device.type == "cpu" and device.index is not None:
        raise UsageError(f"device {name!r}: the CPU is one device, without a number; use --device cpu")
    if device.type == "cpu" or count == 1:
        devices = [device] * count
    else:
        devices = [torch.device("cuda", (device.index or 0) + place) for place in range(count)]
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (devices[-1].index or 0) >= there:
        asked = f"device {name!r} is" if count == 1 else f"{count} devices from {name!r} on are"
        raise UsageError(f"{asked} not there: this machine has {there} usable GPUs; use --device cpu")
    return devices
