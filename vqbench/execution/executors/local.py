"""Runs in worker processes of this machine, one or several at once.

A crash costs only its own run. A worker carries out one run after the other (starting one costs the import of torch)
and is replaced when it dies. Workers share the GPUs in turn, or divide the processor's threads. The driver never
imports torch, and it alone writes to the terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from vqbench.errors import VqbenchError, counted
from vqbench.execution.executors.executor import Executor, continuation, pop_ready
from vqbench.execution.executors.executor_options import cores
from vqbench.execution.executors.worker_process import EXIT_SECONDS, WorkerProcess
from vqbench.execution.messages import (
    AssignedJob,
    LogMessage,
    ProgressListener,
    RunAdvanced,
    RunResult,
    RunSettings,
    RunStarted,
    StopRequest,
    WorkerExit,
    WorkerReady,
    WorkerSetup,
)
from vqbench.execution.stopping import KILL_SIGNALS, MAX_RESUMES, Stop
from vqbench.spec import Job
from vqbench.store.record import Failure, lacking
from vqbench.system.durations import format_duration
from vqbench.system.environment import LARGE_PAGES, waiting

MAX_FAILED_STARTS = 3  # in a row, after which the executor gives up


def worker_environment(processes_at_once: int) -> dict[str, str]:
    """Return the environment of each of several processes that run at once.

    A single process has all threads, several divide them, and idle threads do not spin for long. Variables that the
    user has set are kept.
    """
    variables = {**LARGE_PAGES, **os.environ, **waiting(os.environ, processes_at_once)}
    if processes_at_once > 1:
        variables = {"OMP_NUM_THREADS": str(max(1, cores() // processes_at_once)), **variables}
    return variables


class LocalExecutor(Executor):
    """Carries out jobs in worker processes of this machine.

    Args:
        folder: The results folder.
        settings: How runs are carried out.
        listener: Receives the progress of all runs.
        stop: When to stop early.
        workers: Runs at once; None: one per GPU, or one.
        timeout: Seconds that each run may take; None: no limit.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        listener: ProgressListener,
        stop: Stop,
        workers: int | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(folder, listener, stop)
        self.settings, self.timeout = settings, timeout
        self._requested = workers
        self._max_workers = workers or 1
        self._gpus = 0
        self._workers: list[WorkerProcess] = []
        self._failed_starts = 0  # in a row
        self._kills: dict[str, int] = {}  # key of a run -> how many times one of its processes was killed

    def send_stop_requests(self) -> list[WorkerProcess]:
        """Ask all workers to save a checkpoint and end; returns them."""
        for worker in self._workers:
            worker.send(StopRequest())
        return self._workers

    # Workers ----------------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return any(worker.job for worker in self._workers)

    def _request_stop(self) -> None:
        self.send_stop_requests()

    def _assign_jobs(self) -> None:
        """Give every idle worker a job, and start the workers that are missing."""
        self._start_workers()
        for worker in self._workers[: self._max_workers]:
            if worker.job is not None or not worker.ready:
                continue
            active = [other.job for other in self._workers if other.job] + [job for job, _ in self._postponed.values()]
            if (job := pop_ready(self._queue, active)) is None:
                return  # all queued runs wait for their first stage
            worker.job, worker.started_at = job, time.monotonic()
            worker.log.clear()
            worker.send(AssignedJob(job, self._device_of(worker.number)))

    def _start_workers(self) -> None:
        busy = sum(worker.job is not None for worker in self._workers)
        while len(self._workers) < min(self._max_workers, busy + len(self._queue)):
            taken = {worker.number for worker in self._workers}
            number = next(number for number in range(self._max_workers) if number not in taken)
            environment = worker_environment(self._max_workers * self.settings.devices)
            self._workers.append(WorkerProcess(number, WorkerSetup(self.store.root, self.settings), environment))

    def _device_of(self, number: int) -> str:
        """Return the first device of a worker.

        GPUs are given in turn, in groups of --devices, unless the user chose one.
        """
        if self.settings.device in ("auto", "cuda") and self._gpus:
            return f"cuda:{number % self._gpu_groups() * self.settings.devices}"
        return self.settings.device

    def _gpu_groups(self) -> int:
        """Return how many runs at once have GPUs of their own."""
        return max(1, self._gpus // self.settings.devices)

    def _limit_workers(self) -> None:
        """Limit the workers to the groups of GPUs, unless the user has set them.

        Runs of one GPU may share it; runs of several do not, because their ranks wait for each other.
        """
        if self.settings.device not in ("auto", "cuda") or not self._gpus:
            return
        if self._requested is None:
            self._max_workers = self._gpu_groups()
        elif self.settings.devices > 1 and self._max_workers > self._gpu_groups():
            self._max_workers = self._gpu_groups()
            self.listener.log(
                f"--jobs {self._requested}: {self._gpus} GPUs have room for {self._max_workers} at once with --devices "
                f"{self.settings.devices}, so {self._max_workers} at once"
            )

    def _log_sharing(self) -> None:
        """Log that several runs share a GPU, which saves less time than it seems to."""
        gpus = self._gpus if self.settings.device in ("auto", "cuda") else self.settings.device.startswith("cuda")
        if gpus and self.settings.devices == 1 and self._max_workers > gpus:
            self.listener.log(
                f"--jobs {self._max_workers} on {counted(int(gpus), 'GPU')}: runs on one GPU share it by time slices, "
                "so that each takes longer"
            )

    def _kill_overdue(self) -> None:
        """Kill the workers whose run takes longer than the timeout."""
        if self.timeout is None:
            return
        for worker in self._workers:
            if worker.job and not worker.timed_out and time.monotonic() - worker.started_at > self.timeout:
                worker.timed_out = True
                worker.process.kill()

    def _shut_down(self, graceful: bool) -> None:
        for worker in self._workers:
            if not (graceful and worker.ready):  # a worker that is still starting has nothing to save
                worker.process.kill()
            worker.connection.close()  # on which the worker ends
        deadline = time.monotonic() + EXIT_SECONDS
        for worker in self._workers:
            worker.wait_for_exit(max(0.0, deadline - time.monotonic()))
            if worker.output is not None:
                worker.output.close()
        self._workers.clear()

    # Messages ---------------------------------------------------------------------------------------------------------

    def _process_messages(self, timeout: float) -> None:
        sources: dict[Any, WorkerProcess] = {worker.connection: worker for worker in self._workers}
        sources |= {worker.output: worker for worker in self._workers if worker.output is not None}
        if not sources:
            time.sleep(timeout)
        for source in wait(list(sources), timeout) if sources else ():
            worker = sources[source]
            if not isinstance(source, Connection):
                self._log_lines(worker.read_lines())
                continue
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._on_worker_death(worker)
            else:
                self._on_message(worker, message)
        self._kill_overdue()

    def _log_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.listener.log(line)

    def _on_message(self, worker: WorkerProcess, message: object) -> None:
        if isinstance(message, WorkerReady):
            worker.ready, self._failed_starts = True, 0
            first, self._gpus = not self._gpus, message.gpus
            self._limit_workers()
            if first:
                self._log_sharing()
        elif isinstance(message, LogMessage):
            self.listener.log(message.text)
        elif isinstance(message, WorkerExit):
            worker.ready, worker.leaving = False, True
            if message.signal is not None and not self.stop():
                self.stop.on_signal(message.signal)
        elif worker.job is None:
            raise AssertionError(f"{message} of a worker without a job")
        elif isinstance(message, RunStarted):
            self.listener.run_started(worker.job.run, message.activity)
        elif isinstance(message, RunAdvanced):
            self.listener.run_advanced(worker.job.run, message.done, message.total)
        elif isinstance(message, RunResult):
            job, worker.job = worker.job, None
            worker.ready = message.reusable
            if message.status == "held_elsewhere":
                self._postpone(job)
            elif message.status == "killed":
                self._resume(job, message.reason, worker.last_lines())
            else:
                self.summary.add(job, message, self.listener)

    def _on_worker_death(self, worker: WorkerProcess) -> None:
        """Resume or fail the run of a dead worker.

        A run that had not begun is queued again. Exit code 0 without a last message is a crash, too: a plugin or a
        logger has ended the process.
        """
        self._workers.remove(worker)
        self._log_lines(worker.drain())
        reason, job, code = worker.exit_reason(), worker.job, worker.process.returncode
        if job is not None and worker.leaving:  # it ended by itself before it received the job
            self._resume(job, "its process ended before it began", worker.last_lines())
        elif job is not None:
            if self.timeout is not None and worker.timed_out:
                reason = f"took longer than --timeout {format_duration(self.timeout)}"
            if -code in KILL_SIGNALS and not worker.timed_out:
                self._resume(job, reason, worker.last_lines())
            else:
                self._on_crash(job, reason, worker.last_lines())
        elif not worker.ready and not worker.leaving:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                last_line = f" ({worker.log[-1]})" if worker.log else ""
                raise VqbenchError(f"no worker process can be started: {reason}{last_line}; see `vqbench doctor`")

    def _resume(self, job: Job, reason: str, log: list[str]) -> None:
        """Queue a run again whose process was killed.

        After :data:`MAX_RESUMES` times it has failed.
        """
        times = self._kills[job.run.key] = self._kills.get(job.run.key, 0) + 1
        if self.stop():
            self.summary.add(job, RunResult("stopped", f"{reason}; the same command resumes it"), self.listener)
        elif times <= MAX_RESUMES:
            how = continuation(self.store, job.run)
            self.listener.log(f"{job}: {reason}; it {how} ({times} of {MAX_RESUMES} times)")
            self._queue.appendleft(job)
        else:
            self._on_crash(job, f"{reason}, {times} times", log)

    def _on_crash(self, job: Job, reason: str, log: list[str]) -> None:
        """Record the failure of a run whose process could not record it itself."""
        store = self.store
        reason = f"{reason}; with --retry-failed it {continuation(store, job.run)}"
        result = RunResult("failed", reason)
        with store.lock(job.run) as locked:
            if locked and not lacking(store.sound(job.run), job.required):
                result = RunResult("done")  # the process died after writing the record, before sending its result
            elif locked:  # else another process already works on the run, and records its result
                store.fail(job.run, Failure(reason, log))
        self.summary.add(job, result, self.listener)
