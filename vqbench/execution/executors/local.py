"""Runs in processes of this machine, one or several side by side. What crashes there costs its own run alone.

A place is a process that carries out one run after the other (a start costs the import of torch) and is replaced
when it dies. Places share the GPUs in turn, or divide the processor's threads among them. This process never imports
torch, and it alone talks to the terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

from vqbench.errors import VqbenchError
from vqbench.execution.allocator import LARGE_PAGES
from vqbench.execution.executors.executor import TICK, Executor
from vqbench.execution.executors.messages import Advanced, Assigned, Halt, Left, Ready, Said, Setup, Started
from vqbench.execution.executors.worker_process import PATIENCE, WorkerProcess
from vqbench.execution.results import Listener, RunResult
from vqbench.execution.stopping import KILLS, RESUMES, Stop
from vqbench.execution.wait_policy import waiting
from vqbench.planning.jobs import Job, take
from vqbench.store.results import Failure, lacking
from vqbench.system import processes
from vqbench.system.durations import words

STARTS = 3  # failed starts in a row of one place after which nothing is to be hoped for


def environment(places: int) -> dict[str, str]:
    """The environment of each of so many processes side by side; what the user has set stays.

    One has all threads, several divide them; none spins for long while it waits.
    """
    variables = {**LARGE_PAGES, **processes.environment(), **waiting(os.environ, places)}
    if places > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        share = max(1, cores // places)
        variables = {"OMP_NUM_THREADS": str(share), **variables}
    return variables


class LocalExecutor(Executor):
    """Carries out jobs at ``places`` (None: one for each GPU, or one) of this machine, each in ``timeout`` seconds."""

    def __init__(
        self,
        setup: Setup,
        device: str,
        listener: Listener,
        stop: Stop,
        places: int | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(setup.folder, listener, stop)
        self.setup, self.device, self.timeout = setup, device, timeout
        self._given = places
        self._gpus = 0
        self._wanted = places or 1
        self._places: list[WorkerProcess] = []
        self._failed_starts = 0
        self._kills: dict[str, int] = {}  # key of a run -> how often a process of it was killed

    # Places -----------------------------------------------------------------------------------------------------------

    def _busy(self) -> bool:
        return any(place.job for place in self._places)

    def _hand_out(self) -> None:
        self._man()
        self._assign()

    def _halt(self) -> None:
        for place in self._places:
            place.send(Halt())

    def _man(self) -> None:
        """Start the processes that are lacking, as far as there is work for them."""
        busy = sum(place.job is not None for place in self._places)
        while len(self._places) < min(self._wanted, busy + len(self._queue)):
            taken = {place.number for place in self._places}
            number = next(number for number in range(self._wanted) if number not in taken)
            self._places.append(WorkerProcess(number, self.setup, environment(self._wanted * self.setup.devices)))

    def _assign(self) -> None:
        for place in self._places[: self._wanted]:
            if not (place.ready and place.job is None):
                continue
            at_work = [other.job for other in self._places if other.job] + [job for job, _ in self._held.values()]
            if (job := take(self._queue, at_work)) is None:
                return  # what is left builds on what is being done
            place.job, place.began = job, time.monotonic()
            place.log.clear()
            place.send(Assigned(job, self._device_of(place.number)))

    def _device_of(self, number: int) -> str:
        """The first device of a place: GPUs in turn, in groups of --devices, unless the user has chosen one."""
        if self.device in ("auto", "cuda") and self._gpus:
            return f"cuda:{number % self._groups() * self.setup.devices}"
        return self.device

    def _groups(self) -> int:
        """How many runs at once the GPUs of this machine have room for, each on GPUs of its own."""
        return max(1, self._gpus // self.setup.devices)

    def _fit(self) -> None:
        """Set the number of places by the GPUs: one for each group, unless the user has set it.

        Runs of one GPU may share it; those of several are not crowded, since their ranks wait for each other.
        """
        if self.device not in ("auto", "cuda") or not self._gpus:
            return
        if self._given is None:
            self._wanted = self._groups()
        elif self.setup.devices > 1 and self._wanted > self._groups():
            self._wanted = self._groups()
            self.listener.say(
                f"--places {self._given}: {self._gpus} GPUs have room for {self._wanted} at once with --devices "
                f"{self.setup.devices}, so {self._wanted} at once"
            )

    def _watch(self) -> None:
        """End what takes too long."""
        if self.timeout is None:
            return
        for place in self._places:
            if place.job and not place.overdue and time.monotonic() - place.began > self.timeout:
                place.overdue = True
                place.process.kill()

    def _dismiss(self, patiently: bool) -> None:
        """Let the processes leave, or make them."""
        for place in self._places:
            if not (patiently and place.ready):  # one that is still starting has nothing to tidy up
                place.process.kill()
            place.connection.close()  # which a worker takes for the end
        until = time.monotonic() + PATIENCE
        for place in self._places:
            place.leave(max(0.0, until - time.monotonic()))
            if place.output is not None:
                place.output.close()
        self._places.clear()

    # What they tell ---------------------------------------------------------------------------------------------------

    def _hear(self, patience: float) -> None:
        self._listen(patience)
        self._watch()

    def _listen(self, patience: float) -> None:
        """Take what the processes tell, waiting for it no longer than ``patience`` seconds."""
        ends: dict[Any, WorkerProcess] = {place.connection: place for place in self._places}
        ends |= {place.output: place for place in self._places if place.output is not None}
        if not ends:
            time.sleep(patience)
            return
        for end in wait(list(ends), patience):
            place = ends[end]
            if not isinstance(end, Connection):
                self._repeat(place.lines())
                continue
            try:
                message = place.connection.recv()
            except (EOFError, OSError):
                self._lost(place)
            else:
                self._take(place, message)

    def _repeat(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.listener.say(line)

    def _take(self, place: WorkerProcess, message: object) -> None:
        if isinstance(message, Ready):
            place.ready, self._failed_starts = True, 0
            self._gpus = message.gpus
            self._fit()
        elif isinstance(message, Said):
            self.listener.say(message.text)
        elif isinstance(message, Left):
            place.ready = False
            if message.signal is not None and not self.stop():
                self.stop.by(message.signal)
        elif place.job is None:
            raise AssertionError(f"{message} of a place without a job")
        elif isinstance(message, Started):
            self.listener.run_started(place.job.run, message.doing)
        elif isinstance(message, Advanced):
            self.listener.advanced(place.job.run, message.done, message.total)
        elif isinstance(message, RunResult):
            job, place.job = place.job, None
            place.ready = message.sound
            if message.how == "held":
                self._hold(job)
            elif message.how == "killed":
                self._resume(job, message.reason, place.last_lines())
            else:
                self.outcome.note(job, message, self.listener)

    def _lost(self, place: WorkerProcess) -> None:
        """A process is gone. Its run, if it had one, has failed, unless it left of its own accord before the run."""
        self._places.remove(place)
        place.connection.close()
        while place.output is not None and wait([place.output], TICK):  # what it has started may keep the pipe open
            self._repeat(place.lines())
        if place.output is not None:
            place.output.close()
        why, job = place.why(), place.job
        if job is not None and place.process.returncode != 0:
            if self.timeout is not None and place.overdue:
                why = f"took longer than --timeout {words(self.timeout)}"
            if -place.process.returncode in KILLS and not place.overdue:
                self._resume(job, why, place.last_lines())
            else:
                self._crashed(job, f"{why}; --retry-failed resumes from its last checkpoint", place.last_lines())
        elif job is not None:
            self._queue.appendleft(job)
        elif place.process.returncode != 0 and not place.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                last = f" ({place.log[-1]})" if place.log else ""
                raise VqbenchError(f"no process can be started to work in: {why}{last}; see `vqbench doctor`")

    def _resume(self, job: Job, why: str, log: list[str]) -> None:
        """Queue a run of which a process was killed, to resume from its last checkpoint; too often, it has failed."""
        times = self._kills[job.run.key] = self._kills.get(job.run.key, 0) + 1
        if self.stop():
            self.outcome.note(job, RunResult("stopped", f"{why}; the same command resumes it"), self.listener)
        elif times <= RESUMES:
            self.listener.say(f"{job}: {why}; it resumes from its last checkpoint ({times} of {RESUMES} times)")
            self._queue.appendleft(job)
        else:
            self._crashed(job, f"{why}, {times} times; --retry-failed resumes from its last checkpoint", log)

    def _crashed(self, job: Job, reason: str, log: list[str]) -> None:
        """Record what the dead process could not."""
        store, ended = self.store, RunResult("failed", reason)
        with store.lock(job.run) as held:
            if held and not lacking(store.sound(job.run), job.wanted):
                ended = RunResult("done")  # it died with its last word on its lips
            elif held:  # else another process is already at it, and records how that ends
                store.fail(job.run, Failure(reason, log))
        self.outcome.note(job, ended, self.listener)
