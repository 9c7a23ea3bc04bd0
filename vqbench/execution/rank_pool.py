"""The other processes of a run that is trained on several devices: started, told what to do, watched, ended.

Rank 0 is the process that carries out runs anyway. The others follow it: they are started by it, on this machine, or
were started beside it by ``torchrun``, on one or several. They write nothing, so whoever of them dies costs what was
done since the last checkpoint, and nothing else.
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
from vqbench.execution.settings import RunSettings
from vqbench.execution.stopping import KILL_SIGNALS
from vqbench.execution.wait_policy import waiting
from vqbench.system import processes

GRACE = 10.0  # seconds that the others have to fail by themselves once one of them is gone
LOOK = 0.2  # seconds between two looks at whether all are there


@dataclass(frozen=True)
class RankInfo:
    """What a follower is told before it meets the others."""

    rank: int
    size: int
    port: int  # on this machine, where rank 0 waits
    settings: RunSettings


class RankProcess:
    """One process that follows this one, and ends when this one does: its stdin is a pipe from here."""

    def __init__(self, place: RankInfo, threads: int) -> None:
        self.rank = place.rank
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # closed by ``end``
        self.process = subprocess.Popen(
            processes.command("vqbench.execution.rank_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env={"OMP_NUM_THREADS": str(threads), **os.environ, **waiting(os.environ, 2)},
        )
        assert self.process.stdin is not None
        pickle.dump(place, self.process.stdin)
        self.process.stdin.flush()

    def why(self) -> str | None:
        """How it ended, in a few words; None while it lives."""
        code = self.process.poll()
        if code is None:
            return None
        if code < 0:
            return f"rank {self.rank} was ended by signal {-code}{' (out of memory?)' if code == -9 else ''}"
        self.errors.seek(0)
        lines = [line for line in self.errors.read().splitlines() if line.strip()]
        return f"rank {self.rank}: {lines[-1] if lines else f'it ended with exit code {code}'}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.errors.close()


class RankPool:
    """The ranks that follow this process, which is rank 0 of ``group``."""

    def __init__(self, settings: RunSettings) -> None:
        size, device = settings.devices, settings.device
        self.followers: list[RankProcess] = []
        self.lost: str | None = None  # who was the first that ended before its time, and how
        self._ended = threading.Event()
        if launched():
            self.group: RankGroup = beside(device)
            return
        store = torch.distributed.TCPStore("127.0.0.1", 0, size, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]  # not in its __all__
        threads = max(1, torch.get_num_threads() // size)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads)
        try:
            for rank in range(1, size):
                place = RankInfo(rank, size, store.port, settings)
                self.followers.append(RankProcess(place, threads))
            threading.Thread(target=self._watch, daemon=True).start()
            self.group = group.join(0, size, 0, size, _on_gpus(device), store)
        except BaseException:
            self.end()
            raise

    def tell(self, work: object) -> None:
        """Have all ranks do this, as this one does."""
        self.group.tell(work)

    def _watch(self) -> None:
        """Notice who ends before its time. Where this process then waits for ever, as NCCL may, it ends as well."""
        while not self._ended.wait(LOOK):
            if lost := self._lost():
                if not self._ended.wait(GRACE):
                    print(f"vqbench: {lost}; so this run cannot go on", file=sys.stderr, flush=True)
                    os._exit(1)
                return

    def _lost(self) -> str | None:
        """Who ended, and how; a signal comes first, since one that was killed makes others fail."""
        reasons = [why for follower in self.followers if (why := follower.why())]
        return min(reasons, key=lambda why: "by signal" not in why, default=None)

    def blame(self, patience: float = 2.0) -> str | None:
        """After an error here: which other rank it came from, and why; None if all the others live."""
        until = time.monotonic() + patience
        while not (lost := self._lost()) and time.monotonic() < until:
            time.sleep(LOOK / 4)
        return lost

    def killed(self) -> bool:
        """Whether one of the others was ended from outside, as by a system without memory."""
        return any(-(follower.process.poll() or 0) in KILL_SIGNALS for follower in self.followers)

    def end(self) -> None:
        """Let the others go. After this there is no team."""
        self._ended.set()
        for follower in self.followers:
            follower.end()
        self.followers.clear()
        group.leave()

    def dismiss(self) -> None:
        """The same, where the others wait to be told what comes next."""
        if not self.followers:  # started by somebody else, who waits for all of them
            self.group.tell(None)
        self.end()


def meet(place: RankInfo) -> RankGroup:
    """In a follower: join the group of rank 0."""
    store: Any = torch.distributed.TCPStore("127.0.0.1", place.port, place.size, is_master=False)  # type: ignore[attr-defined]  # likewise
    return group.join(place.rank, place.size, place.rank, place.size, _on_gpus(place.settings.device), store)


def beside(device: str) -> RankGroup:
    """In a process that ``torchrun`` started: join the group of all of them."""
    ours = launched()
    assert ours is not None
    return group.join(ours.rank, ours.size, ours.local_rank, ours.local_size, _on_gpus(device))


def _on_gpus(device: str) -> bool:
    return torch.cuda.is_available() and device != "cpu"
