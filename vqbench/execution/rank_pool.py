"""Start, instruct, watch and end the other ranks of runs on several devices.

Rank 0 is the process that carries out runs anyway. It starts the other ranks on this machine, or ``torchrun`` has
started them beside it, on one machine or several. They write nothing, so that the loss of one costs the work since the
last checkpoint, and nothing else.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import IO, Any

import torch

from vqbench.distributed import group
from vqbench.distributed.group import RankGroup
from vqbench.distributed.launching import launched
from vqbench.execution.messages import RunSettings
from vqbench.execution.stopping import KILL_SIGNALS
from vqbench.system import processes
from vqbench.system.environment import waiting

GRACE = 10.0  # seconds in which the other ranks may fail by themselves once one is lost
POLL = 0.2  # seconds between two checks that all ranks are alive


@dataclass(frozen=True)
class RankInfo:
    """What a rank beyond 0 needs to join the group, sent to its stdin."""

    rank: int
    size: int
    port: int  # on this machine, where rank 0 waits
    settings: RunSettings


class RankProcess:
    """A rank beyond 0 on this machine.

    Its stdin is a pipe from this process, and it ends when that closes.
    """

    def __init__(self, info: RankInfo, threads: int) -> None:
        self.rank = info.rank
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # closed by ``end``
        self.process = subprocess.Popen(
            processes.command("vqbench.execution.rank_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env={"OMP_NUM_THREADS": str(threads), **os.environ, **waiting(os.environ, 2)},
        )
        assert self.process.stdin is not None
        pickle.dump(info, self.process.stdin)
        self.process.stdin.flush()

    def exit_reason(self) -> str | None:
        """Return how the process ended, in a few words; None while it is alive."""
        code = self.process.poll()
        if code is None:
            return None
        if code < 0:
            return f"rank {self.rank} was ended by signal {-code}{' (out of memory?)' if code == -9 else ''}"
        self.errors.seek(0)
        lines = [line for line in self.errors.read().splitlines() if line.strip()]
        return f"rank {self.rank}: {lines[-1] if lines else f'it ended with exit code {code}'}"

    def end(self) -> None:
        """Kill the process and close its pipes."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.errors.close()


class RankPool:
    """The ranks beyond 0 of this process's ``group``, whose rank 0 it is."""

    def __init__(self, settings: RunSettings) -> None:
        size, device = settings.devices, settings.device
        self.processes: list[RankProcess] = []  # empty under torchrun, which started the ranks
        self._ended = threading.Event()
        if launched():
            self.group: RankGroup = join_launched(device)
            return
        store = torch.distributed.TCPStore("127.0.0.1", 0, size, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]  # not in its __all__
        threads = max(1, torch.get_num_threads() // size)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads)
        try:
            for rank in range(1, size):
                info = RankInfo(rank, size, store.port, settings)
                self.processes.append(RankProcess(info, threads))
            threading.Thread(target=self._watch, daemon=True).start()
            self.group = group.join(0, size, 0, size, _uses_gpus(device), store)
        except BaseException:
            self.end()
            raise

    def broadcast_task(self, task: object) -> None:
        """Send ``task`` to all other ranks, which carry it out with this one."""
        self.group.broadcast_task(task)

    def _watch(self) -> None:
        """End this process if it still waits for a lost rank after GRACE seconds.

        NCCL may wait forever.
        """
        while not self._ended.wait(POLL):
            if lost := self._lost():
                if not self._ended.wait(GRACE):
                    print(f"vqbench: {lost}; this run cannot continue without it", file=sys.stderr, flush=True)
                    os._exit(1)
                return

    def _lost(self) -> str | None:
        """Return how a rank ended; None if all are alive.

        One that was killed by a signal comes first, since it makes others fail.
        """
        reasons = [reason for each in self.processes if (reason := each.exit_reason())]
        return min(reasons, key=lambda reason: "by signal" not in reason, default=None)

    def find_lost(self, patience: float = 2.0) -> str | None:
        """Return which other rank has caused an error here, and how it ended.

        None if all are alive. Waits up to ``patience`` seconds for one to end.
        """
        until = time.monotonic() + patience
        while not (lost := self._lost()) and time.monotonic() < until:
            time.sleep(POLL / 4)
        return lost

    def was_killed(self) -> bool:
        """Return whether another rank was killed from outside, as for lack of memory."""
        return any(-(each.process.poll() or 0) in KILL_SIGNALS for each in self.processes)

    def end(self) -> None:
        """Kill the other ranks that this process started, and leave the group."""
        self._ended.set()
        for each in self.processes:
            each.end()
        self.processes.clear()
        group.leave()

    def dismiss(self) -> None:
        """End the other ranks while they wait for a task."""
        if not self.processes:  # torchrun waits for all ranks, so they must end by themselves
            self.group.broadcast_task(None)
        self.end()


def join_rank_zero(info: RankInfo) -> RankGroup:
    """Join the group of rank 0, in a process that it started."""
    store: Any = torch.distributed.TCPStore("127.0.0.1", info.port, info.size, is_master=False)  # type: ignore[attr-defined]  # likewise
    return group.join(info.rank, info.size, info.rank, info.size, _uses_gpus(info.settings.device), store)


def join_launched(device: str) -> RankGroup:
    """Join the group of all processes that ``torchrun`` started, in one of them."""
    ours = launched()
    assert ours is not None
    return group.join(ours.rank, ours.size, ours.local_rank, ours.local_size, _uses_gpus(device))


def _uses_gpus(device: str) -> bool:
    return torch.cuda.is_available() and device != "cpu"
