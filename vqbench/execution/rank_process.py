"""Run as a rank beyond 0, in a process that trains together with rank 0.

A process that :mod:`vqbench.execution.rank_pool` started reads a RankInfo from stdin, and ends when stdin closes: no
rank outlives rank 0. Ranks ignore signals; rank 0 receives them and has all ranks stop at the same update.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING

from vqbench.execution.messages import SIGNALS

if TYPE_CHECKING:
    from vqbench.distributed.group import RankGroup
    from vqbench.execution.messages import RunSettings


def main() -> None:
    """Join rank 0, which started this process, and carry out its tasks."""
    info = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_exit_with_rank_zero, daemon=True).start()

    from vqbench import registry
    from vqbench.execution.rank_pool import join_rank_zero

    for path in info.settings.plugins:
        registry.add_file(path)
    with info.settings.downloads():
        _follow(join_rank_zero(info), info.settings)


def follow_launched(settings: RunSettings) -> None:
    """Carry out the tasks of rank 0, in a process that ``torchrun`` started."""
    from vqbench.distributed import group
    from vqbench.execution.rank_pool import join_launched

    _follow(join_launched(settings.device), settings)
    group.leave()


def _follow(group: RankGroup, settings: RunSettings) -> None:
    from vqbench.execution.runner import follow

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # rank 0 shows the same ones
    follow(group, settings)


def _exit_with_rank_zero() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
