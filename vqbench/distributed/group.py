"""The processes that train one run together, and how they come to the same decisions."""

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

from vqbench.errors import Interrupted, VqbenchError

IDLE = timedelta(days=365)  # how long a rank waits to be told of the next run: its leader may have none for long
BUSY = timedelta(hours=1)  # how long ranks wait for each other within a run, before they take one of them for lost
MORTAL = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # what ends a process that waits for ranks

Result = TypeVar("Result")


@dataclass(frozen=True)
class RankGroup:
    """This process as one of ``size`` ranks, ``local_size`` of them on this machine. The default is a rank alone.

    Rank 0 leads: it alone knows the store, the driver and the clock, and what it decides all ranks do. Every method
    must be called by all ranks in the same order; for a rank alone none of them costs anything.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def agree(self, decide: Callable[[], Result], patient: bool = False) -> Result:
        """What ``decide`` gives on rank 0, on all ranks; if it raises an error that a user can act on, all raise it.

        ``patient``: the others wait however long that takes.
        """
        if self.size == 1:
            return decide()
        told: list[Any] = [None, None]
        if self.leads:
            try:
                told[0] = decide()
            except VqbenchError as error:
                told[1] = error
        dist.broadcast_object_list(told, 0, group=self._idle if patient else None)
        if told[1] is not None:
            raise told[1]
        result: Result = told[0]
        return result

    def number(self, number: int) -> int:
        """The ``number`` of rank 0: cheap enough for every update."""
        if self.size == 1:
            return number
        told = torch.tensor(number)
        dist.broadcast(told, 0)
        return int(told)

    def together(self, do: Callable[[], Result]) -> Result:
        """What ``do`` gives on each rank, once all have done it; an error that a user can act on is raised on all.

        Not so where rank 0 was told to stop: it leaves at once, and the others with it.
        """
        if self.size == 1:
            return do()
        result, error = None, None
        try:
            result = do()
        except Interrupted:
            raise
        except VqbenchError as raised:
            error = raised
        for each in self.gather(error):
            if each is not None:
                raise error or each
        return result  # type: ignore[return-value]  # of do(), which raised nothing

    def gather(self, value: Any) -> list[Any]:
        """The ``value`` of every rank, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each of these tensors on the CPU by its sum over the ranks."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def part(self, items: Sequence[Any]) -> Sequence[Any]:
        """This rank's consecutive part of ``items``; those of all ranks are all items, each once."""
        return items[len(items) * self.rank // self.size : len(items) * (self.rank + 1) // self.size]

    def tell(self, message: object) -> None:
        """Rank 0: have all others :meth:`hear` this."""
        dist.broadcast_object_list([message], 0, group=self._idle)

    def hear(self) -> Any:
        """The others: what rank 0 tells next, however long that takes."""
        told: list[Any] = [None]
        dist.broadcast_object_list(told, 0, group=self._idle)
        return told[0]

    @cached_property
    def _idle(self) -> Any:
        """A group of the same ranks, in which waiting is no fault."""
        return dist.new_group(backend="gloo", timeout=IDLE)


ALONE = RankGroup()


def join(rank: int, size: int, local_rank: int, local_size: int, gpus: bool, store: Any = None) -> RankGroup:
    """Meet the other ranks in ``store`` or, without one, where the environment says: gloo on CPUs, NCCL on GPUs."""
    where = {"store": store} if store is not None else {"init_method": "env://"}
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"  # what ranks tell each other is on the CPU all the same
    with _mortal():
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=BUSY, **where)
    group = RankGroup(rank, size, local_rank, local_size)
    _ = group._idle  # made by all ranks now, at one time
    return group


@contextmanager
def _mortal() -> Iterator[None]:
    """Within, a signal ends this process at once: while torch waits for ranks that never come, Python answers none."""
    ours = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signal.SIG_DFL) for number in MORTAL} if ours else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave() -> None:
    """Part from the group that this process joined, so that it may join another."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
