"""Ranks of a group as threads of one process, for what is the same whether they are processes."""

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

    met: Any = None
    said: Any = None

    def gather(self, value: Any) -> list[Any]:
        self.said[self.rank] = value
        self.met.wait(60)
        values = list(self.said)
        self.met.wait(60)
        return values

    def agree(self, decide: Callable[[], Any], patient: bool = False) -> Any:
        told: list[Any] = [None, None]
        if self.leads:
            try:
                told[0] = decide()
            except VqbenchError as error:
                told[1] = error
        result, raised = self.gather(told)[0]
        if raised is not None:
            raise raised
        return result

    def number(self, number: int) -> int:
        return self.gather(number)[0]


def two_ranks(do: Callable[[Thread], Result]) -> list[Result]:
    """What ``do`` gives on each of two ranks."""
    met, said = threading.Barrier(2), [None, None]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(do, [Thread(rank, 2, rank, 2, met, said) for rank in range(2)]))
