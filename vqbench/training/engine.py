"""Devices, precision and checkpoints: the one file that knows Lightning Fabric."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vqbench.distributed import collectives
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.distributed.launching import require_ranks
from vqbench.errors import RunError, UsageError
from vqbench.functional.precision import allow_tf32, float32_products
from vqbench.system import determinism
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

    Several ranks are data-parallel: each computes its part of a batch, gradients are averaged, and quantizers exchange
    what they must. Buffers are not copied from one rank to the others, which would hide a missing exchange.
    """

    def __init__(self, device: str = "auto", precision: Precision = "float32", group: RankGroup = ALONE) -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", module="lightning_fabric")
        require_ranks()
        from lightning_fabric import Fabric

        determinism.apply()
        allow_tf32(False)  # Fabric reads PyTorch's older switch, which fails while this one says TF32
        devices = devices_of(device, group.local_size)
        self.device, self.precision, self.group = devices[group.local_rank], precision, group
        self._scale = 1.0  # of this rank's loss in the batch at hand
        on_gpus = self.device.type == "cuda"
        self._fabric = Fabric(
            accelerator="cuda" if on_gpus else "cpu",
            devices=[each.index or 0 for each in devices] if on_gpus else len(devices),
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            **(_data_parallel(group) if group.size > 1 else {}),
        )
        if group.size > 1:
            self._fabric.launch()
        allow_tf32(precision == "tf32")

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model and its optimizer, moved to the device and wrapped for its precision and the group."""
        with float32_products():  # for Fabric, as above
            wrapped: tuple[nn.Module, torch.optim.Optimizer] = self._fabric.setup(model, optimizer)
            return wrapped

    @contextmanager
    def batch(self, count: int, model: nn.Module) -> Iterator[slice]:
        """Within: a batch of ``count`` images is shared by the ranks. Yields which of them are this rank's.

        Parts may differ by an image. A batch of fewer images than ranks is computed as a whole by each of them, as
        one device would, and ``model`` is then made the same bit by bit.
        """
        size = self.group.size
        if size == 1:
            yield slice(0, count)
        elif count < size:
            with collectives.WholeBatch():
                yield slice(0, count)
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)
        else:
            with collectives.SharedBatch(count):
                self._scale = size * collectives.weight()
                yield collectives.part(count, self.group.rank, size)
            self._scale = 1.0

    def autocast(self) -> AbstractContextManager[None]:
        """A context that computes in this precision, for recipes that train several modules and wrap none."""
        return self._fabric.autocast()

    def backward(self, loss: Tensor) -> None:
        """Gradients of the batch's loss, which is the mean of the ranks' ``loss``, weighted by their images."""
        self._fabric.backward(loss if self._scale == 1.0 else self._scale * loss)

    def mean(self, values: Tensor) -> Tensor:
        """Means over this rank's images as means over the batch, on all ranks, without a gradient."""
        return values.detach() if collectives.world_size() == 1 else collectives.all_sum(values * collectives.weight())

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
                f"the ranks part: {', '.join(apart[:5])} of {told} differ between devices; exchange statistics by "
                "vqbench.functional (`vqbench check` says where), or declare distributed = False"
            )


def _digest(value: Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data).hexdigest()


def _data_parallel(group: RankGroup) -> dict[str, Any]:
    """Fabric's arguments for a group that is already there."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    class Ours(LightningEnvironment):
        """Tells Fabric of the group, whose processes are there."""

        creates_processes_externally = True

        def world_size(self) -> int:
            return group.size

        def global_rank(self) -> int:
            return group.rank

        def local_rank(self) -> int:
            return group.local_rank

        def node_rank(self) -> int:
            return group.rank // group.local_size

        def teardown(self) -> None:
            pass  # the group stays for the next run

    # Parameters that a step leaves without a gradient are a quantizer's own affair, as they are on one device.
    strategy = DDPStrategy(cluster_environment=Ours(), broadcast_buffers=False, find_unused_parameters=True)
    return {"strategy": strategy, "num_nodes": group.size // group.local_size}


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
