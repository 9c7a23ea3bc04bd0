"""Runs on a Slurm cluster, as job arrays.

Runs that build on no other are one array. Those that build on them are a second one, which Slurm starts once all tasks
of the first have ended, whether or not the driver still waits; and so on.

The tasks write the results folder, under its locks; so that folder, vqbench and its data must lie on a file system that
all nodes share. submitit writes the batch script. Before Slurm ends a task (its time is over, or it is preempted) it
sends a warning signal; the task then saves its work and is queued again, as often as needed. The driver only submits
the arrays and watches the results folder; when the driver ends, by --time-limit or Ctrl-C, the arrays continue.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vqbench.errors import Evicted, UsageError, counted
from vqbench.execution.executors.executor import Summary
from vqbench.execution.executors.local import LocalExecutor
from vqbench.execution.messages import ProgressListener, RunResult, RunSettings, result_without_first_stage
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


def parse_parameters(words: Sequence[str], devices: int = 1) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` words to submitit's parameters.

    Keys unknown to submitit become options of sbatch. A task has a core for each of the ``devices`` that share a run,
    unless ``cpus`` is given.

    Raises UsageError for other words, for values that are no number or no length of time where one is needed, and for
    fewer GPUs than ``devices``.

    >>> parse_parameters(["partition=gpu", "time=2h", "nice=100"])["additional_parameters"]
    {'requeue': True, 'nice': '100'}
    """
    parameters: dict[str, Any] = {
        "job_name": "vqbench",
        "time": 60,  # minutes
        "signal_delay_s": WARNING_SECONDS,
        "cpus_per_task": devices,
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
            if key == "gpus_per_node" and 0 < parameters[key] < devices:
                raise UsageError(f"--slurm {word}: fewer than --devices {devices}; a run needs one for each")
        elif key in KNOWN:
            parameters[key] = value
        else:
            additional[key] = value
    return {**parameters, "additional_parameters": additional}


def after(parameters: Mapping[str, Any], job: str | None) -> dict[str, Any]:
    """Return ``parameters`` of an array that waits until all tasks of ``job`` ended.

    Those that failed have ended, too: a run without its first stage ends at once, with the reason. None: it waits for
    no other.

    >>> after({"time": 60, "additional_parameters": {"nice": "100"}}, "7")
    {'time': 60, 'additional_parameters': {'nice': '100', 'dependency': 'afterany:7'}}
    """
    if job is None:
        return dict(parameters)
    additional = parameters["additional_parameters"]
    conditions = [*filter(None, [additional.get("dependency")]), f"afterany:{job}"]
    return {**parameters, "additional_parameters": {**additional, "dependency": ",".join(conditions)}}


def by_stage(jobs: Sequence[Job]) -> list[list[Job]]:
    """Divide ``jobs`` into stages.

    Those that build on none of them come first, then those that build on these, and so on.
    """
    stages: list[list[Job]] = []
    left = list(jobs)
    while left:
        keys = {job.run.key for job in left}
        stages.append([job for job in left if job.first_stage is None or job.first_stage.key not in keys])
        begun = {job.run.key for job in stages[-1]}
        left = [job for job in left if job.run.key not in begun]
    return stages


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
    """Submits jobs as arrays and watches the results folder.

    Args:
        folder: The results folder.
        settings: How runs are carried out.
        words: ``KEY=VALUE`` parameters of the arrays; see :func:`parse_parameters`.
        listener: Receives the results of runs.
        stop: When to stop watching; the arrays continue.
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
        self.parameters = parse_parameters(words, settings.devices)
        self.warning: int = self.parameters["signal_delay_s"]
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
                    result = self._result_of_ended(job, tasks[key])
                if result is not None:
                    del pending[key]
                    self.summary.add(job, result, self.listener)
            if pending:
                time.sleep(POLL_SECONDS)
        if pending:
            ids = sorted({tasks[key].job_id.split("_")[0] for key in pending})
            what, it = ("the array continues", "it") if len(ids) == 1 else ("the arrays continue", "them")
            self.listener.log(f"{what} without this command; `scancel {' '.join(ids)}` ends {it}")
        return self.summary

    def _submit(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """Submit the arrays; returns the task of each run by the run's key."""
        try:
            import submitit
        except ImportError as error:
            raise UsageError(
                f"--executor slurm needs submitit ({error}): python -m pip install 'vqbench[slurm]'"
            ) from None
        folder, python = self.store.root / "slurm" / "%j", shlex.join(processes.PYTHON)
        submitted: dict[str, Any] = {}
        before: str | None = None  # number of the array that the next one waits for
        for stage in by_stage(jobs):
            array = [
                ArrayTask(tuple(stage[start::MAX_TASKS]), self.store.root, self.settings, self.timeout, self.warning)
                for start in range(min(MAX_TASKS, len(stage)))
            ]
            wait = "" if before is None else f", after job {before}"
            try:
                executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_REQUEUES, python=python)
                executor.update_parameters(**after(self.parameters, before))
                tasks = executor.submit_array(array)
            except (RuntimeError, OSError, ValueError) as error:
                lacking = f"nothing was submitted{wait}"
                raise UsageError(f"--executor slurm: {lacking}: {str(error).strip()}") from error
            before = tasks[0].job_id.split("_")[0]
            self.listener.log(
                f"{counted(len(stage), 'run')} in {counted(len(tasks), 'task')}: Slurm job {before}{wait}"
            )
            submitted |= {job.run.key: task for share, task in zip(array, tasks, strict=True) for job in share.jobs}
        return submitted

    def _result_of_ended(self, job: Job, task: Any) -> RunResult:
        """Return the result of a run whose task has ended and recorded none."""
        if not self.store.missing(job.run, job.required):  # an earlier array did it
            return RunResult("already_done")
        missing = result_without_first_stage(job, self.store)
        if missing is not None and missing.status == "machine_fault":
            return missing
        reason = f"its Slurm task {task.job_id} ended without it; see {task.paths.stderr}"
        return RunResult("machine_fault", reason)

    def _change_times(self, job: Job) -> dict[str, int]:
        """Return when the files that record the end of a run last changed."""
        folder = self.store.folder(job.run)
        times = {}
        for name in ("record.json", "failed.json"):
            with suppress(FileNotFoundError):
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
