"""Runs on a Ray cluster, one task per run.

The driver alone writes the results folder. A task receives its run's last checkpoint as bytes, and the weights of the
run that it builds on, and works in a temporary folder of its node (see
:mod:`~vqbench.execution.executors.cluster_node`). Its messages, and every checkpoint that it
writes, go through a :class:`Mailbox`, an actor beside the driver; it returns the record and the weights. When a node
dies, its runs are started again elsewhere from the newest checkpoint received, so that at most one interval between
checkpoints is lost. Ray's own retries are off: they would start from the first checkpoint, and would repeat a run that
crashes by itself; here a crash fails that run alone, on record.

The devices of a run are all of one node: its task reserves them, and starts the ranks there.

Every node needs the same version of vqbench and the packages of the user's plugins; no shared file system is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import vqbench
from vqbench.errors import StoreError, UsageError, VqbenchError
from vqbench.execution.executors.cluster_node import RemoteJob, RemoteResult, run_remote_job, user_files
from vqbench.execution.executors.executor import Executor, Summary, pop_ready
from vqbench.execution.executors.executor_options import TORCH_LOG_LEVEL, ExecutorOptions
from vqbench.execution.executors.file_sync import Files, pack, unpack
from vqbench.execution.executors.first_stages import WeightsInCluster
from vqbench.execution.executors.ray_cluster import capacity, connected
from vqbench.execution.messages import (
    LogMessage,
    ProgressListener,
    RunAdvanced,
    RunResult,
    RunSettings,
    RunStarted,
    result_without_first_stage,
)
from vqbench.execution.stopping import Stop
from vqbench.spec import Job
from vqbench.store.record import Failure
from vqbench.system import determinism

QUEUED_AHEAD = 4  # tasks submitted beyond the capacity: no node waits for work, and an autoscaler sees demand
MAX_LOSSES = 5  # nodes that one run may lose before it is given up
NODES_EVERY = 2.0  # seconds between two looks at the cluster's nodes
# Of the user's variables, those that concern the work and not the machine.
FORWARDED_VARIABLES = ("VQBENCH_OFFLINE", determinism.CUBLAS, TORCH_LOG_LEVEL)


class Mailbox:
    """An actor that keeps messages and files of tasks for the driver.

    Newer files replace older ones.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._messages: list[tuple[str, object]] = []
        self._files: dict[str, Files] = {}

    def post(self, attempt: str, messages: list[object], files: Files) -> bool:
        """Add messages and files of an attempt.

        Returns whether the attempt is to save its work and stop.
        """
        self._messages.extend((attempt, message) for message in messages)
        if files:
            self._files.setdefault(attempt, {}).update(files)
        return self.stopping

    def take(self) -> tuple[list[tuple[str, object]], dict[str, Files]]:
        """Return and remove all messages, in order, and all files, by attempt."""
        taken = self._messages, self._files
        self._messages, self._files = [], {}
        return taken

    def request_stop(self) -> None:
        """Have the next post of every attempt return that it is to stop."""
        self.stopping = True


def ray_task(remote_job: RemoteJob, attempt: str, mailbox: Any, weights: bytes | None) -> RemoteResult:
    """Carry out one run on a node.

    ``weights``, of its first stage, are passed as a reference: Ray brings the content to the node, unless the node has
    it, before the task takes a core.
    """
    import ray

    def post(messages: list[object], files: Files) -> bool:
        try:
            # Not by ray.get: a task that waits there gives its cores to another one.
            stop: bool = mailbox.post.remote(attempt, messages, files).future().result()
            return stop
        except ray.exceptions.RayActorError:
            return True  # the driver is gone

    return run_remote_job(remote_job, post, weights)


@dataclass
class ActiveJob:
    """A run that is submitted, locked in the results folder by ``lock``."""

    job: Job
    lock: ExitStack
    attempt: str = ""  # key of the run / number of the attempt
    ref: Any = None  # of Ray's task
    started: bool = False
    losses: int = 0  # nodes lost so far


class RayExecutor(Executor):
    """Carries out jobs on a Ray cluster.

    Args:
        folder: The results folder.
        settings: How runs are carried out; files that it names are sent to the nodes.
        options: The cluster, and what it gives each run.
        assets: Data and weights that a node must have.
        listener: Receives the progress of all runs.
        stop: When to stop early.
        timeout: Seconds that each run may take; None: no limit.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        options: ExecutorOptions,
        assets: Sequence[str],
        listener: ProgressListener,
        stop: Stop,
        timeout: float | None = None,
    ) -> None:
        super().__init__(folder, listener, stop)
        self.settings, self.options, self.assets, self.timeout = settings, options, tuple(assets), timeout
        self.user_files = tuple(path.read_bytes() for path in user_files(settings))
        self.cpus = settings.devices if options.cpus is None else options.cpus
        self.gpus = options.gpus or 0.0
        self._active: dict[str, ActiveJob] = {}  # by key of the run
        self._capacity, self._capacity_at = 0, 0.0  # runs that fit the cluster, and when that was counted
        self._no_capacity_logged = False

    def execute(self, jobs: Sequence[Job]) -> Summary:
        """Connect to the cluster and carry out all ``jobs``."""
        with connected(self.options.address) as self._ray:
            if (
                self.options.gpus is None
                and self.settings.device != "cpu"
                and any(node.get("GPU") for node in self._nodes())
            ):
                self.gpus = float(self.settings.devices)
            here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                self._ray.get_runtime_context().get_node_id(), soft=False
            )
            self._mailbox = self._ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
            self._weights = WeightsInCluster(self.store, self._ray.put)
            self._task = self._ray.remote(ray_task).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)
            return super().execute(jobs)

    def _nodes(self) -> list[dict[str, float]]:
        """Return the resources of every node that is alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    # Submitting -------------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return bool(self._active)

    def _assign_jobs(self) -> None:
        while self._queue and len(self._active) < self._count_capacity() + QUEUED_AHEAD:
            if (job := pop_ready(self._queue, self._begun_jobs())) is None:
                return  # all queued runs wait for their first stage
            lock = ExitStack()
            if not lock.enter_context(self.store.lock(job.run)):
                lock.close()
                self._postpone(job)
            elif result := self._result_without_attempt(job):
                lock.close()
                if result.status == "held_elsewhere":
                    self._postpone(job)
                else:
                    self.summary.add(job, result, self.listener)
            else:
                self._submit(ActiveJob(job, lock))

    def _begun_jobs(self) -> list[Job]:
        """Return the jobs that are submitted, or that another process holds."""
        return [active.job for active in self._active.values()] + [job for job, _ in self._postponed.values()]

    def _result_without_attempt(self, job: Job) -> RunResult | None:
        """Return the result of a run that needs no attempt, else None.

        Damaged files of the run are set aside.
        """
        try:
            for sentence in self.store.mend(job.run):
                self.listener.log(sentence)
            if not self.store.missing(job.run, job.required):
                return RunResult("already_done")
            failure = self.store.failure(job.run)
            if failure and not job.retry_failed:
                return RunResult("failed", f"failed earlier: {failure.reason}")
            if result := result_without_first_stage(job, self.store):
                return result
            self._weights.of(job)  # raises where they were removed
            self.store.forget_failure(job.run)
        except StoreError as error:
            return RunResult("machine_fault", str(error))
        return None

    def _submit(self, active: ActiveJob) -> None:
        run = active.job.run
        needed = ("record.json", "per_image.npz", "best.pt") if run in self.store else ("last.pt", "best.pt")
        first_stage, weights = self._weights.of(active.job)
        remote_job = RemoteJob(
            job=active.job,
            settings=replace(self.settings, device="cuda" if self.gpus else "cpu"),
            files=pack(self.store.folder(run), only=(*needed, "samples*")),
            user_files=self.user_files,
            assets=self.assets,
            threads=max(1, self.cpus // self.settings.devices),
            timeout=self.timeout,
            variables={name: os.environ[name] for name in FORWARDED_VARIABLES if name in os.environ},
            version=vqbench.__version__,
            first_stage=first_stage,
        )
        active.attempt, active.started = f"{run.key}/{active.losses}", False
        active.ref = self._task.remote(remote_job, active.attempt, self._mailbox, weights)
        self._active[run.key] = active

    def _count_capacity(self) -> int:
        """Return how many runs fit the nodes that are alive."""
        if time.monotonic() - self._capacity_at > NODES_EVERY:
            per_run = {"CPU": self.cpus, "GPU": self.gpus}
            self._capacity = sum(capacity(node, per_run) for node in self._nodes())
            self._capacity_at = time.monotonic()
            if not self._capacity and not self._no_capacity_logged:
                self._no_capacity_logged = True
                self.listener.log(f"no node has {self.cpus} CPUs and {self.gpus:g} GPUs; waiting for one to join")
        return self._capacity

    def _request_stop(self) -> None:
        self._ray.get(self._mailbox.request_stop.remote())
        for active in self._active.values():
            if not active.started:
                self._ray.cancel(active.ref)

    def _shut_down(self, graceful: bool) -> None:
        for active in self._active.values():
            active.lock.close()
        self._active.clear()  # disconnecting, which comes next, ends the tasks

    # Receiving --------------------------------------------------------------------------------------------------------

    def _process_messages(self, timeout: float) -> None:
        by_ref = {active.ref: active for active in self._active.values()}
        ended: list[Any] = []
        if by_ref:
            ended, _ = self._ray.wait(list(by_ref), num_returns=len(by_ref), timeout=timeout)
        else:
            time.sleep(timeout)
        messages, files = self._ray.get(self._mailbox.take.remote())
        for attempt, message in messages:
            if active := self._active_attempt(attempt):
                self._on_message(active, message)
        for attempt, changed in files.items():
            if active := self._active_attempt(attempt):
                unpack(self.store.folder(active.job.run), changed)
        fatal: VqbenchError | None = None
        for ref in ended:
            try:
                self._on_task_end(by_ref[ref])
            except VqbenchError as error:  # the results of the others are stored first
                fatal = fatal or error
        if fatal is not None:
            raise fatal

    def _active_attempt(self, attempt: str) -> ActiveJob | None:
        """Return the job of ``attempt``, unless its node was given up.

        Such a node may still send messages.
        """
        active = self._active.get(attempt.partition("/")[0])
        return active if active is not None and active.attempt == attempt else None

    def _on_message(self, active: ActiveJob, message: object) -> None:
        if isinstance(message, RunStarted):
            active.started = True
            self.listener.run_started(active.job.run, message.activity)
        elif isinstance(message, RunAdvanced):
            self.listener.run_advanced(active.job.run, message.done, message.total)
        elif isinstance(message, LogMessage):
            self.listener.log(message.text)

    def _on_task_end(self, active: ActiveJob) -> None:
        """Handle what a task returned or raised."""
        errors = self._ray.exceptions
        try:
            returned: RemoteResult = self._ray.get(active.ref)
        except (errors.RayTaskError, errors.TaskCancelledError) as error:
            if not isinstance(getattr(error, "cause", error), errors.TaskCancelledError):
                raise _as_vqbench_error(error.cause) from error
            self._finish(active, RunResult("stopped", "stopped before it began"))
        except errors.OutOfMemoryError:
            reason = "out of memory on its node, where Ray ended it; run fewer at once with --cpus-per-run"
            self.store.fail(active.job.run, Failure(reason, []))
            self._finish(active, RunResult("failed", reason))
        except errors.RayError as error:
            self._on_node_loss(active, f"its node was lost ({type(error).__name__})")
        else:
            unpack(self.store.folder(active.job.run), returned.files)
            if returned.evicted:
                self._on_node_loss(active, "its node stopped it")
            else:
                self._finish(active, returned.result)

    def _on_node_loss(self, active: ActiveJob, reason: str) -> None:
        """Submit the run again with the files received so far."""
        active.losses += 1
        if self.stop():
            self._finish(active, RunResult("stopped", reason))
        elif active.losses > MAX_LOSSES:
            self._finish(active, RunResult("machine_fault", f"{reason}, as {MAX_LOSSES} times before"))
        else:
            self.listener.log(f"{active.job}: {reason}; it resumes elsewhere from its last checkpoint")
            self._submit(active)

    def _finish(self, active: ActiveJob, result: RunResult) -> None:
        del self._active[active.job.run.key]
        active.lock.close()
        self._weights.release([*self._queue, *self._begun_jobs()])
        self.summary.add(active.job, result, self.listener)


def _as_vqbench_error(cause: Exception) -> VqbenchError:
    """Convert the error of a task to one of ours, in one sentence."""
    if isinstance(cause, VqbenchError):
        return type(cause)(f"on a node of the Ray cluster: {cause}")
    if isinstance(cause, ImportError):
        return UsageError(f"on a node of the Ray cluster: {cause}; install the same vqbench on every node")
    return VqbenchError(f"on a node of the Ray cluster: {type(cause).__name__}: {cause} (a fault of vqbench)")
