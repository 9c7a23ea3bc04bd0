"""Ranks of a group as threads of one process, for tests of what does not depend on processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from vqbench.distributed.group import RankGroup
from vqbench.errors import VqbenchError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Thread(RankGroup):
    """A rank that is a thread of this process."""

    barrier: Any = None
    values: Any = None  # of all ranks, in the exchange at hand

    def gather(self, value: Any) -> list[Any]:
        self.values[self.rank] = value
        self.barrier.wait(60)
        values = list(self.values)
        self.barrier.wait(60)
        return values

    def from_first_rank(self, compute: Callable[[], Any], patient: bool = False) -> Any:
        message: list[Any] = [None, None]
        if self.is_first:
            try:
                message[0] = compute()
            except VqbenchError as error:
                message[1] = error
        result, raised = self.gather(message)[0]
        if raised is not None:
            raise raised
        return result

    def broadcast_number(self, number: int) -> int:
        return self.gather(number)[0]


def two_ranks(do: Callable[[Thread], Result]) -> list[Result]:
    """Return what ``do`` returns on each of two ranks."""
    barrier, values = threading.Barrier(2), [None, None]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(do, [Thread(rank, 2, rank, 2, barrier, values) for rank in range(2)]))
