"""Runs on a Slurm cluster: one array, whose tasks write the results folder, under its locks, as any process does.

So the results folder, vqbench and its data must lie on a file system that all nodes share. submitit writes the batch
script. Before Slurm ends a task (its time is over, or somebody more important came) it sends a warning signal; then
the work is kept and the task is queued again, as often as is needed. This process only submits, and watches the results
folder; when it ends, by --for or Ctrl-C, the array goes on.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vqbench.errors import Evicted, UsageError, counted
from vqbench.execution.executors.local import LocalExecutor
from vqbench.execution.executors.messages import Halt, Setup
from vqbench.execution.progress import PlainProgress
from vqbench.execution.results import Listener, RunResult, Summary
from vqbench.execution.stopping import Stop
from vqbench.planning.jobs import Job
from vqbench.store.results import ResultStore
from vqbench.system import processes
from vqbench.system.durations import seconds

TASKS = 1000  # of one array; clusters refuse larger ones (MaxArraySize)
OFTEN = 1000  # times that a task may be queued again because its time was over
WARNING = 90  # seconds between the warning signal and the end
LOOK_EVERY = 2.0  # seconds between two looks into the results folder
LEAVE = 600.0  # seconds that a task which was told to stop waits for Slurm to end it or to queue it again
# How our words for parameters are called by submitit; all others are sbatch's own long options.
OWN = {"gpus": "gpus_per_node", "cpus": "cpus_per_task", "parallel": "array_parallelism", "warning": "signal_delay_s"}
NUMBERS = ("gpus_per_node", "cpus_per_task", "array_parallelism", "signal_delay_s")
KNOWN = ("partition", "account", "qos", "mem", "constraint", "gres", "exclude", *NUMBERS)


def parameters(given: Sequence[str]) -> dict[str, Any]:
    """submitit's parameters from ``KEY=VALUE`` words; what submitit does not know becomes an option of sbatch.

    >>> parameters(["partition=gpu", "time=2h", "nice=100"])["additional_parameters"]
    {'requeue': True, 'nice': '100'}
    """
    found: dict[str, Any] = {"job_name": "vqbench", "time": 60, "signal_delay_s": WARNING, "cpus_per_task": 1}
    more: dict[str, Any] = {"requeue": True}
    for word in given:
        key, equals, value = word.partition("=")
        key = OWN.get(key, key)
        if not (key and equals and value):
            raise UsageError(f"--slurm {word!r}: write KEY=VALUE, as in --slurm partition=gpu --slurm time=2h")
        if key == "time":
            found[key] = max(1, int(seconds(value)) // 60)
        elif key in NUMBERS:
            if not value.isdecimal():
                raise UsageError(f"--slurm {word!r}: {value!r} is not a number")
            found[key] = int(value)
        elif key in KNOWN:
            found[key] = value
        else:
            more[key] = value
    return {**found, "additional_parameters": more}


@dataclass(frozen=True)
class ArrayTask:
    """What one task of the array does: some runs, one after the other, each in a process that is watched.

    submitit calls it, and, when the warning signal comes, its :meth:`checkpoint` from within the handler.
    """

    jobs: tuple[Job, ...]
    setup: Setup
    device: str
    timeout: float | None
    warning: int  # seconds between signal and end

    def __call__(self) -> None:
        stop = Stop()
        with PlainProgress(len(self.jobs)) as listener:
            _working.append(LocalExecutor(self.setup, self.device, listener, stop, places=1, timeout=self.timeout))
            _working[-1].execute(self.jobs)
        if stop.reason:  # the worker had a signal of its own: Slurm is about to end this task or to queue it again
            time.sleep(LEAVE)
            raise Evicted("told to stop; the work so far is kept")

    def checkpoint(self) -> Any:
        """Keep the work; what is to be done after being queued again, which is the same: what is finished is known."""
        from submitit.core.utils import DelayedSubmission

        places = [place for local in _working for place in local._places]
        for place in places:
            place.send(Halt())
        until = time.monotonic() + self.warning * 0.7
        for place in places:
            place.leave(max(0.0, until - time.monotonic()))
        return DelayedSubmission(self)


_working: list[LocalExecutor] = []  # of this task


class SlurmExecutor:
    """Submits jobs as one array and watches what comes of them."""

    def __init__(
        self,
        setup: Setup,
        given: Sequence[str],
        device: str,
        listener: Listener,
        stop: Stop,
        timeout: float | None = None,
    ) -> None:
        self.setup, self.device, self.listener, self.stop, self.timeout = setup, device, listener, stop, timeout
        self.parameters = parameters(given)
        self.store, self.outcome = ResultStore(setup.folder), Summary()

    def execute(self, jobs: Sequence[Job]) -> Summary:
        """Wait until all ``jobs`` have ended, or until told to stop, which the array is not."""
        left = {job.run.key: (job, self._stamp(job)) for job in jobs}
        tasks = self._submit(jobs)
        while left and not self.stop():
            over = {key for key, task in tasks.items() if key in left and task.done()}  # looked at before the folder
            for key, (job, before) in list(left.items()):
                ended = self._ended(job, before)
                if ended is None and key in over:
                    where = tasks[key].paths.stderr
                    ended = RunResult("machine", f"its Slurm task {tasks[key].job_id} ended without it; see {where}")
                if ended is not None:
                    del left[key]
                    self.outcome.note(job, ended, self.listener)
            if left:
                time.sleep(LOOK_EVERY)
        if left:
            ids = ", ".join(sorted({tasks[key].job_id.split("_")[0] for key in left}))
            self.listener.say(f"the array goes on without this command; `scancel {ids}` ends it")
        return self.outcome

    def _submit(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """The task of each run, by its key."""
        try:
            import submitit
        except ImportError as error:
            raise UsageError(
                f"--executor slurm needs submitit ({error}): python -m pip install 'vqbench[slurm]'"
            ) from None
        try:
            folder, python = self.setup.folder / "slurm" / "%j", shlex.join(processes.PYTHON)
            executor = submitit.SlurmExecutor(folder, max_num_timeout=OFTEN, python=python)
            executor.update_parameters(**self.parameters)
            shares = [
                ArrayTask(
                    tuple(jobs[start::TASKS]), self.setup, self.device, self.timeout, self.parameters["signal_delay_s"]
                )
                for start in range(min(TASKS, len(jobs)))
            ]
            tasks = executor.submit_array(shares)
        except (RuntimeError, OSError, ValueError) as error:
            raise UsageError(f"--executor slurm: nothing was submitted: {str(error).strip()}") from error
        self.listener.say(
            f"{counted(len(jobs), 'run')} in {counted(len(tasks), 'task')}: Slurm job {tasks[0].job_id.split('_')[0]}"
        )
        return {job.run.key: task for share, task in zip(shares, tasks, strict=True) for job in share.jobs}

    def _stamp(self, job: Job) -> dict[str, int]:
        """When the files that tell of a run's end changed last."""
        folder = self.store.folder(job.run)
        stamps = {}
        for name in ("record.json", "failed.json"):
            if (folder / name).exists():
                stamps[name] = os.stat(folder / name).st_mtime_ns
        return stamps

    def _ended(self, job: Job, before: dict[str, int]) -> RunResult | None:
        now = self._stamp(job)
        if now == before:
            return None
        if not self.store.missing(job.run, job.wanted):
            return RunResult("done")
        if "failed.json" in now and now["failed.json"] != before.get("failed.json"):
            failure = self.store.failure(job.run)
            return RunResult("failed", failure.reason if failure else "")
        return None
