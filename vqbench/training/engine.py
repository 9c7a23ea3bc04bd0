"""Devices, precision, gradients over ranks and checkpoints, for all recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqbench.distributed import collectives
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import RunError, UsageError
from vqbench.functional.precision import allow_tf32
from vqbench.system.provenance import origin
from vqbench.training import checkpoint

Precision = Literal["float32", "tf32", "bf16"]


class Engine:
    """One device at one precision, for a process that trains alone or as one rank.

    The same CPU with the same number of threads gives the same bits every time; the same GPU does so under
    ``--deterministic`` (:mod:`vqbench.system.determinism`). Several ranks are data-parallel: each computes its part of
    a batch, gradients are added up, and quantizers exchange what they must. Buffers are not copied from one rank to the
    others, which would hide a missing exchange.

    Args:
        device: ``auto`` (a GPU where one exists), ``cpu``, ``cuda`` or ``cuda:N``. With several ranks, it is the device
            of the first one on this machine, and the others have the GPUs after it.
        precision: ``float32`` is strict, ``tf32`` lets a GPU round the factors of the backbone's products to 10 bits,
            ``bf16`` computes the backbone under autocast. Quantizers always work in float32, forward and backward.
        group: the ranks that train together.

    Raises:
        UsageError: for a device that does not exist on this machine.
    """

    def __init__(self, device: str = "auto", precision: Precision = "float32", group: RankGroup = ALONE) -> None:
        self.device = devices_of(device, group.local_size)[group.local_rank]
        self.precision, self.group = precision, group
        self._modules: list[nn.Module] = []  # whose gradients ``backward`` adds up over the ranks
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device.index or 0)
        allow_tf32(precision == "tf32")

    def setup(self, model: nn.Module) -> nn.Module:
        """Move ``model`` to the device, and return it at this precision.

        Its parameters are then equal on all ranks. Compute losses with the returned module. :meth:`backward` adds up
        the gradients of ``model`` over the ranks.
        """
        model.to(self.device)
        self._modules.append(model)
        if self.group.size > 1:
            collectives.broadcast_tensors(parameter.detach() for parameter in model.parameters())
        return _Autocast(model, self.device.type) if self.precision == "bf16" else model

    @contextmanager
    def batch(self, count: int, model: nn.Module) -> Iterator[slice]:
        """Share a batch of ``count`` images between the ranks, within this context.

        It gives the slice of this rank's images. Parts may differ by an image. A batch of fewer images than ranks is
        computed as a whole by each of them, as one device would, and ``model`` is then copied from rank 0, so that it
        stays equal bit by bit.
        """
        if self.group.size == 1:
            yield slice(0, count)
        elif count < self.group.size:
            with collectives.WholeBatch():
                yield slice(0, count)
            collectives.broadcast_tensors(model.state_dict().values())
        else:
            with collectives.SharedBatch(count):
                yield collectives.rank_slice(count, self.group.rank, self.group.size)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context of this precision, for modules that are not set up."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the batch's loss.

        It is the mean of the ranks' ``loss``, weighted by their images.
        """
        if collectives.group_size() == 1:
            loss.backward()
            return
        from vqbench.distributed import gradients

        gradients.share(loss).backward()
        for module in self._modules:
            gradients.sum_gradients(module)

    def mean(self, values: Tensor) -> Tensor:
        """Return means over the batch of means over ranks, without a gradient."""
        if collectives.group_size() == 1:
            return values.detach()
        from vqbench.distributed import gradients

        return gradients.mean(values)

    def seed(self, seed: int) -> None:
        """Seed the default random generators of the CPU and of the device."""
        if self.device.type == "cpu":  # torch.manual_seed formats the stack for each kind of device that is absent
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write the ``state`` of rank 0 to ``path``.

        A reader sees the old or the new content, never a part. Raises Unwritable, on all ranks, where it cannot be
        written.
        """
        self.group.from_first_rank(lambda: checkpoint.write(path, state))

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint on rank 0, and return it on all ranks.

        It is on the CPU; ``load_state_dict`` moves it to the device. Raises, on all ranks, Damaged if it is not what
        was written, and StoreError if it cannot be read.
        """
        return self.group.from_first_rank(lambda: checkpoint.read(path))

    @contextmanager
    def restoring(self, path: Path) -> Iterator[None]:
        """Raise Damaged, within this context, if the state from ``path`` does not fit."""
        with checkpoint.restoring(path):
            yield

    def add_origin(self, origins: list[dict[str, Any]]) -> None:
        """Add the machines of all ranks to ``origins``; all ranks must call it."""
        for each in self.group.gather(origin(self.device)):
            if each not in origins:
                origins.append(each)

    def require_equal(self, model: nn.Module, name: str) -> None:
        """Raise RunError, on all ranks, unless all have equal weights and buffers.

        They are compared bit for bit; the error names ``name``.
        """
        if self.group.size == 1:
            return
        first, *others = self.group.gather({key: _digest(value) for key, value in model.state_dict().items()})
        diverged = [key for key, digest in first.items() if any(other[key] != digest for other in others)]
        if diverged:
            raise RunError(
                f"ranks diverged: {', '.join(diverged[:5])} of {name} differ between devices; exchange statistics by "
                "vqbench.functional (`vqbench check` says where), or declare distributed = False"
            )


def upload(values: Tensor, device: torch.device) -> Tensor:
    """Return values of the CPU on a device, without waiting for the copy to a GPU."""
    return values if device.type == "cpu" else values.pin_memory().to(device, non_blocking=True)


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
    """Return ``count`` devices, starting from the one called ``name``.

    Raises UsageError for an unknown device, or one that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported; known: auto, cpu, cuda, cuda:N")
    if device.type == "cpu" and device.index is not None:
        raise UsageError(f"device {name!r}: the CPU is one device, without a number; use --device cpu")
    if device.type == "cpu" or count == 1:
        devices = [device] * count
    else:
        devices = [torch.device("cuda", (device.index or 0) + offset) for offset in range(count)]
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (devices[-1].index or 0) >= available:
        missing = f"device {name!r} does" if count == 1 else f"{count} devices from {name!r} on do"
        raise UsageError(f"{missing} not exist: this machine has {available} usable GPUs; use --device cpu")
    return devices
