"""Connect the processes that train one run, and bring them to the same decisions."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from vqbench.distributed.collectives import rank_slice
from vqbench.errors import Interrupted, VqbenchError

IDLE = timedelta(days=365)  # how long a rank waits for its next task, since rank 0 may have none for long
BUSY = timedelta(hours=1)  # how long ranks wait for each other within a run, before one of them counts as lost
# These end a process that waits for other ranks to join. Windows, where quantizers are imported too, has no SIGUSR1.
FATAL_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))

Result = TypeVar("Result")


@dataclass(frozen=True)
class RankGroup:
    """This process as one of ``size`` ranks; the default is a single process.

    Of these, ``local_size`` run on this machine. Only rank 0 writes to the store and uses the driver and the clock; it
    broadcasts its decisions. Every method must be called by all ranks in the same order. For a single process none of
    them costs anything.

    This class exchanges Python objects, and tensors on the CPU. Tensors of a batch are exchanged by
    :mod:`vqbench.distributed.collectives`, and gradients by :mod:`vqbench.distributed.gradients`, in the same group.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def from_first_rank(self, compute: Callable[[], Result], patient: bool = False) -> Result:
        """Call ``compute`` on rank 0 and return its result on all ranks.

        A VqbenchError that it raises is raised on all ranks. With ``patient``, the other ranks wait for it without a
        time limit.
        """
        if self.size == 1:
            return compute()
        message: list[Any] = [None, None]
        if self.is_first:
            try:
                message[0] = compute()
            except VqbenchError as error:
                message[1] = error
        dist.broadcast_object_list(message, 0, group=self._idle if patient else None)
        if message[1] is not None:
            raise message[1]
        result: Result = message[0]
        return result

    def broadcast_number(self, number: int) -> int:
        """Return the ``number`` of rank 0 on all ranks; cheap enough for every update."""
        if self.size == 1:
            return number
        message = torch.tensor(number)
        dist.broadcast(message, 0)
        return int(message)

    def on_all_ranks(self, compute: Callable[[], Result]) -> Result:
        """Call ``compute`` on each rank; return its result there once all have succeeded.

        If it raises a VqbenchError on one rank, all ranks raise one. Interrupted is the exception: rank 0 raises it at
        once, which ends the other ranks with it.
        """
        if self.size == 1:
            return compute()
        result, error = None, None
        try:
            result = compute()
        except Interrupted:
            raise
        except VqbenchError as raised:
            error = raised
        for each in self.gather(error):
            if each is not None:
                raise error or each
        return result  # type: ignore[return-value]  # of compute(), which raised nothing

    def gather(self, value: Any) -> list[Any]:
        """Return the ``value`` of every rank, in the order of the ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each of these tensors on the CPU by its sum over the ranks."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def own_items(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return this rank's consecutive part of ``items``.

        The parts of all ranks have each item once.
        """
        return items[rank_slice(len(items), self.rank, self.size)]

    def broadcast_task(self, task: object) -> None:
        """Send ``task`` from rank 0 to all others, which call :meth:`receive_task`."""
        dist.broadcast_object_list([task], 0, group=self._idle)

    def receive_task(self) -> Any:
        """Return the next task of rank 0, waiting for it without a time limit."""
        message: list[Any] = [None]
        dist.broadcast_object_list(message, 0, group=self._idle)
        return message[0]

    @cached_property
    def _idle(self) -> Any:
        """A second group of the same ranks, in which waiting for long is no error."""
        return dist.new_group(backend="gloo", timeout=IDLE)


ALONE = RankGroup()  # of a process that trains by itself


def join(rank: int, size: int, local_rank: int, local_size: int, gpus: bool, store: Any = None) -> RankGroup:
    """Join the other ranks, with gloo on CPUs and NCCL on GPUs.

    They meet in ``store`` or, without one, at the address in the environment.
    """
    where = {"store": store} if store is not None else {"init_method": "env://"}
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"  # Python objects are exchanged on the CPU in any case
    with _ended_by_signals():
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=BUSY, **where)
    group = RankGroup(rank, size, local_rank, local_size)
    _ = group._idle  # all ranks must create it, at the same time
    return group


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a signal end this process at once, within this context.

    Python handles no signal while torch waits for ranks that never come.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signal.SIG_DFL) for number in FATAL_SIGNALS} if in_main_thread else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave() -> None:
    """Leave the group that this process joined, so that it may join another."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
