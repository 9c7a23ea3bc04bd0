"""Two processes that form a group and carry out one job after the other.

They are started once and end with this process.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vqbench.conformance.case import Case
from vqbench.conformance.outcome import Fail, Skip
from vqbench.system import processes

PATIENCE = 120.0  # seconds for one job, the start of the processes included
HANG = 30.0  # seconds after which a rank that waits for the other gives up
GRACE = 5.0  # seconds that a rank has to end its job, or fail at it, after the other failed


class Trouble(Exception):
    """The ranks have no result, for the reason in the message."""


@dataclass(frozen=True)
class RankJob:
    """A function and a case, as text for other processes."""

    text: str

    @classmethod
    def of(cls, function: Callable[..., Any], case: Case) -> RankJob:
        """Return the job that calls ``function(case, rank, world)``."""
        job = f"{function.__module__}:{function.__qualname__}"
        return cls(json.dumps({"job": job, "case": case.to_dict()}, sort_keys=True))


class Ranks:
    """Two processes, started for the first job and again after a failed one."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.jobs = 0

    def start(self) -> None:
        """Start both processes unless they run already.

        They are ready some seconds later, and wait for jobs.
        """
        if self.processes:
            return
        self.folder = tempfile.TemporaryDirectory(prefix="vqbench-ranks-", ignore_cleanup_errors=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        for rank in (0, 1):
            words = processes.command("vqbench.conformance.two_ranks_worker", rank, self.folder.name, HANG)
            with (Path(self.folder.name) / f"stderr.{rank}").open("w") as errors:
                self.processes.append(
                    subprocess.Popen(
                        words,
                        env=environment,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        stderr=errors,
                        text=True,
                    )
                )

    def stop(self) -> None:
        """Kill both processes and remove their folder."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        self.processes = []
        if self.folder:
            self.folder.cleanup()
        self.folder = None

    def carry_out(self, job: RankJob) -> list[Any]:
        """Return the results of both ranks for ``job``. Raises Trouble.

        If one of them fails, ends, or never answers.
        """
        self.start()
        self.jobs += 1
        assert self.folder
        files = [Path(self.folder.name) / f"{self.jobs}.{rank}" for rank in (0, 1)]
        try:
            for process in self.processes:
                assert process.stdin
                process.stdin.write(json.dumps([self.jobs, json.loads(job.text), os.getcwd()]) + "\n")
                process.stdin.flush()
            answers = self._answers(files)
        except OSError as error:
            self.stop()
            raise Trouble(f"a rank ended before its job ({error})") from error
        except BaseException:
            self.stop()
            raise
        if len(answers) < len(files):
            self.stop()  # one of them would wait for ever
        if errors := [answer["error"] for answer in answers if "error" in answer]:
            raise Trouble(f"on two ranks: {errors[0]}")
        if len(answers) < len(files):
            raise Trouble(f"the ranks did not answer within {PATIENCE:.0f} s: one waits for the other")
        return answers

    def _answers(self, files: list[Path]) -> list[Any]:
        """Return the answers of the ranks.

        Fewer than two, if one of them waits for the other in vain.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not all(file.exists() for file in files):
            for rank, process in enumerate(self.processes):
                if process.poll() is not None and not files[rank].exists():
                    raise Trouble(f"rank {rank} ended: {self._last_words(rank)}")
            if any("error" in torch.load(file, weights_only=True) for file in files if file.exists()):
                deadline = min(deadline, time.monotonic() + GRACE)
            time.sleep(0.02)
        answers = [torch.load(file, weights_only=True) for file in files if file.exists()]
        for file in files:
            file.unlink(missing_ok=True)
        return answers

    def _last_words(self, rank: int) -> str:
        assert self.folder
        lines = (
            (Path(self.folder.name) / f"stderr.{rank}")
            .read_text(encoding="utf-8", errors="replace")
            .strip()
            .splitlines()
        )
        return lines[-1] if lines else "no output"


@functools.cache
def ranks() -> Ranks:
    """Return the two processes that serve all checks of this process."""
    both = Ranks()
    atexit.register(both.stop)
    return both


def require(case: Case) -> None:
    """Raise Skip where two processes cannot work on ``case``."""
    if not dist.is_available() or not dist.is_gloo_available():
        raise Skip("this torch has no gloo, the backend for processes of one machine")
    if not case.importable:
        raise Skip("the class is defined inside a function or at a prompt, so no other process can import it")


def both(function: Callable[..., Any], case: Case) -> list[Any]:
    """Return what ``function(case, rank, world)`` returns on two ranks.

    ``function`` is one of a module. Raises Fail where a rank has no result.
    """
    try:
        return _both(RankJob.of(function, case))
    except Trouble as trouble:
        raise Fail(str(trouble), "call the same collectives in the same order on every rank") from trouble


@functools.lru_cache(maxsize=1)  # several checks use the same result
def _both(job: RankJob) -> list[Any]:
    return ranks().carry_out(job)
