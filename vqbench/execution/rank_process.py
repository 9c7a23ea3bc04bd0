"""A process that follows another one in a run on several devices, as a rank beyond 0.

Started by :mod:`vqbench.execution.rank_pool`, it is told by stdin who it is, and ends when that closes: no rank
outlives the one that started it. Signals are for rank 0 alone, which has all ranks stop at the same update.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING

from vqbench.execution.stopping import SIGNALS
from vqbench.system import console

if TYPE_CHECKING:
    from vqbench.distributed.group import RankGroup
    from vqbench.execution.settings import RunSettings


def main() -> None:
    console.read_by_another()
    place = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_leader, daemon=True).start()

    from vqbench import assets, registry
    from vqbench.execution.rank_pool import meet

    for path in place.settings.plugins:
        registry.add_file(path)
    with assets.no_downloads(place.settings.offline):
        _follow(meet(place), place.settings)


def follow_launched(settings: RunSettings) -> None:
    """Follow rank 0 in a process that ``torchrun`` started beside it, to the end of all runs."""
    from vqbench.distributed import group
    from vqbench.execution.rank_pool import beside

    _follow(beside(settings.device), settings)
    group.leave()


def _follow(group: RankGroup, settings: RunSettings) -> None:
    from vqbench.execution.runner import follow

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # rank 0 gives the same
    follow(group, settings)


def _end_with_the_leader() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
