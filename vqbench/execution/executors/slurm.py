"""Runs on a Slurm cluster, as one job array.

The array's tasks write the results folder, under its locks; so that folder, vqbench and its data must lie on a file
system that all nodes share. submitit writes the batch script. Before Slurm ends a task (its time is over, or it is
preempted) it sends a warning signal; the task then saves its work and is queued again, as often as needed. The driver
only submits the array and watches the results folder; when the driver ends, by --time-limit or Ctrl-C, the array
continues.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vqbench.errors import Evicted, UsageError, counted
from vqbench.execution.executors.executor import Summary
from vqbench.execution.executors.local import LocalExecutor
from vqbench.execution.messages import ProgressListener, RunResult, RunSettings
from vqbench.execution.progress import PlainProgress
from vqbench.execution.stopping import Stop
from vqbench.spec import Job
from vqbench.store.results import ResultStore
from vqbench.system import processes
from vqbench.system.durations import parse_duration

MAX_TASKS = 1000  # of one array; clusters refuse larger ones (MaxArraySize)
MAX_REQUEUES = 1000  # of a task whose time was over
WARNING_SECONDS = 90  # between the warning signal and the end
POLL_SECONDS = 2.0  # between two looks into the results folder
EVICTION_SECONDS = 600.0  # that a stopped task waits for Slurm to end it or to queue it again
# Our names of parameters -> submitit's; all other words are sbatch's own long options.
OWN_NAMES = {
    "gpus": "gpus_per_node",
    "cpus": "cpus_per_task",
    "parallel": "array_parallelism",
    "warning": "signal_delay_s",
}
NUMBERS = ("gpus_per_node", "cpus_per_task", "array_parallelism", "signal_delay_s")
KNOWN = ("partition", "account", "qos", "mem", "constraint", "gres", "exclude", *NUMBERS)


def parse_parameters(words: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` words to submitit's parameters.

    Keys unknown to submitit become options of sbatch.

    Raises UsageError for other words, and for values that are no number or no length of time where one is needed.

    >>> parse_parameters(["partition=gpu", "time=2h", "nice=100"])["additional_parameters"]
    {'requeue': True, 'nice': '100'}
    """
    parameters: dict[str, Any] = {
        "job_name": "vqbench",
        "time": 60,  # minutes
        "signal_delay_s": WARNING_SECONDS,
        "cpus_per_task": 1,
    }
    additional: dict[str, Any] = {"requeue": True}
    for word in words:
        key, equals, value = word.partition("=")
        key = OWN_NAMES.get(key, key)
        if not (key and equals and value):
            raise UsageError(f"--slurm {word!r}: write KEY=VALUE, as in --slurm partition=gpu --slurm time=2h")
        if key == "time":
            parameters[key] = max(1, int(parse_duration(value)) // 60)
        elif key in NUMBERS:
            if not value.isdecimal():
                raise UsageError(f"--slurm {word!r}: {value!r} is not a number")
            parameters[key] = int(value)
        elif key in KNOWN:
            parameters[key] = value
        else:
            additional[key] = value
    return {**parameters, "additional_parameters": additional}


@dataclass
class ArrayTask:
    """One task of the array: some runs, one after the other, in a worker process.

    submitit calls it, and calls its :meth:`checkpoint` from the handler of the warning signal.
    """

    jobs: tuple[Job, ...]
    folder: Path  # the results folder
    settings: RunSettings
    timeout: float | None
    warning: int  # seconds between the warning signal and the end
    _executor: LocalExecutor | None = field(default=None, init=False, repr=False)  # while the task runs

    def __call__(self) -> None:
        stop = Stop()
        with PlainProgress(self.jobs) as listener:
            self._executor = LocalExecutor(self.folder, self.settings, listener, stop, workers=1, timeout=self.timeout)
            self._executor.execute(self.jobs)
        if stop.cause:  # the worker received a signal: Slurm is about to end this task or to queue it again
            time.sleep(EVICTION_SECONDS)
            raise Evicted("stopped by Slurm; the work so far is kept")

    def checkpoint(self) -> Any:
        """Save the work and return the task to queue again.

        That task skips the runs that are done.
        """
        from submitit.core.utils import DelayedSubmission

        workers = self._executor.send_stop_requests() if self._executor else []
        deadline = time.monotonic() + self.warning * 0.7
        for worker in workers:
            worker.wait_for_exit(max(0.0, deadline - time.monotonic()))
        return DelayedSubmission(replace(self))


class SlurmExecutor:
    """Submits jobs as one array and watches the results folder.

    Args:
        folder: The results folder.
        settings: How runs are carried out.
        words: ``KEY=VALUE`` parameters of the array; see :func:`parse_parameters`.
        listener: Receives the results of runs.
        stop: When to stop watching; the array continues.
        timeout: Seconds that each run may take; None: no limit.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        words: Sequence[str],
        listener: ProgressListener,
        stop: Stop,
        timeout: float | None = None,
    ) -> None:
        self.settings, self.listener, self.stop, self.timeout = settings, listener, stop, timeout
        self.parameters = parse_parameters(words)
        self.store, self.summary = ResultStore(folder), Summary()

    def execute(self, jobs: Sequence[Job]) -> Summary:
        """Submit all ``jobs``, and wait until they have ended or :attr:`stop` is set."""
        pending = {job.run.key: (job, self._change_times(job)) for job in jobs}
        tasks = self._submit(jobs)
        while pending and not self.stop():
            ended = {key for key, task in tasks.items() if key in pending and task.done()}  # asked before the folder
            for key, (job, before) in list(pending.items()):
                result = self._result(job, before)
                if result is None and key in ended:
                    log = tasks[key].paths.stderr
                    reason = f"its Slurm task {tasks[key].job_id} ended without it; see {log}"
                    result = RunResult("machine_fault", reason)
                if result is not None:
                    del pending[key]
                    self.summary.add(job, result, self.listener)
            if pending:
                time.sleep(POLL_SECONDS)
        if pending:
            ids = ", ".join(sorted({tasks[key].job_id.split("_")[0] for key in pending}))
            self.listener.log(f"the array continues without this command; `scancel {ids}` ends it")
        return self.summary

    def _submit(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """Submit the array; returns the task of each run by the run's key."""
        try:
            import submitit
        except ImportError as error:
            raise UsageError(
                f"--executor slurm needs submitit ({error}): python -m pip install 'vqbench[slurm]'"
            ) from None
        warning = self.parameters["signal_delay_s"]
        array = [
            ArrayTask(tuple(jobs[start::MAX_TASKS]), self.store.root, self.settings, self.timeout, warning)
            for start in range(min(MAX_TASKS, len(jobs)))
        ]
        try:
            folder, python = self.store.root / "slurm" / "%j", shlex.join(processes.PYTHON)
            executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_REQUEUES, python=python)
            executor.update_parameters(**self.parameters)
            tasks = executor.submit_array(array)
        except (RuntimeError, OSError, ValueError) as error:
            raise UsageError(f"--executor slurm: nothing was submitted: {str(error).strip()}") from error
        self.listener.log(
            f"{counted(len(jobs), 'run')} in {counted(len(tasks), 'task')}: Slurm job {tasks[0].job_id.split('_')[0]}"
        )
        return {job.run.key: task for share, task in zip(array, tasks, strict=True) for job in share.jobs}

    def _change_times(self, job: Job) -> dict[str, int]:
        """Return when the files that record the end of a run last changed."""
        folder = self.store.folder(job.run)
        times = {}
        for name in ("record.json", "failed.json"):
            if (folder / name).exists():
                times[name] = os.stat(folder / name).st_mtime_ns
        return times

    def _result(self, job: Job, before: dict[str, int]) -> RunResult | None:
        """Return the result of a run that has ended since ``before``, else None."""
        now = self._change_times(job)
        if now == before:
            return None
        if not self.store.missing(job.run, job.required):
            return RunResult("done")
        if "failed.json" in now and now["failed.json"] != before.get("failed.json"):
            failure = self.store.failure(job.run)
            return RunResult("failed", failure.reason if failure else "")
        return None
