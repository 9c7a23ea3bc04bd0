"""Runs on a Ray cluster: one task a run, and this process alone writes the results folder.

A task gets its run's last checkpoint as bytes and works in a folder of its node (:mod:`.cluster_node`). What
it tells, and every checkpoint that it writes, goes through a desk, an actor beside this process; record and weights
are what the task returns. When a node dies, its runs are handed out again with the newest checkpoint that came in, so
that no more than one interval between checkpoints is lost. Ray's own retries would begin with the first one, and
would also repeat a run that crashes by itself; here that costs the run alone, and is recorded.

Every node needs the same vqbench, the user's installed packages and a connection to no file system of ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vqbench
from vqbench.errors import StoreError, UsageError, VqbenchError
from vqbench.execution.executors.cluster_node import RemoteJob, RemoteResult, carry_out
from vqbench.execution.executors.executor import Executor
from vqbench.execution.executors.executor_options import ExecutorOptions
from vqbench.execution.executors.file_sync import Files, pack, unpack
from vqbench.execution.executors.messages import Advanced, Said, Started
from vqbench.execution.executors.ray_cluster import connected, fits
from vqbench.execution.results import Listener, RunResult, Summary
from vqbench.execution.stopping import Stop
from vqbench.planning.jobs import Job
from vqbench.store.results import Failure
from vqbench.system import determinism

AHEAD = 4  # tasks handed out beyond what fits now: no place waits for work, and an autoscaler sees that there is some
LOSSES = 5  # nodes that one run may lose before it is given up
LOOK_EVERY = 2.0  # seconds between two looks at which nodes there are
VARIABLES = (  # about the work, not about the machine
    *("VQBENCH_CHECKPOINT_EVERY", "VQBENCH_OFFLINE"),
    *(determinism.VARIABLE, determinism.CUBLAS),
)


class Mailbox:
    """An actor between tasks and driver: keeps what is told until it is taken. Newer files replace older ones."""

    def __init__(self) -> None:
        self.halted = False
        self._messages: list[tuple[str, object]] = []
        self._files: dict[str, Files] = {}

    def tell(self, attempt: str, messages: list[object], files: Files) -> bool:
        """Whether the work is to be kept and ended."""
        self._messages.extend((attempt, message) for message in messages)
        if files:
            self._files.setdefault(attempt, {}).update(files)
        return self.halted

    def take(self) -> tuple[list[tuple[str, object]], dict[str, Files]]:
        """All messages in order, and the files, by attempt."""
        taken = self._messages, self._files
        self._messages, self._files = [], {}
        return taken

    def halt(self) -> None:
        self.halted = True


def task(errand: RemoteJob, attempt: str, desk: Any) -> RemoteResult:
    """One run on a node."""
    import ray

    def tell(messages: list[object], files: Files) -> bool:
        try:
            # Not by ray.get: a task that waits so gives its cores to another one.
            stop: bool = desk.tell.remote(attempt, messages, files).future().result()
            return stop
        except ray.exceptions.RayActorError:
            return True  # who handed this out is gone

    return carry_out(errand, tell)


@dataclass
class ActiveJob:
    """A run that is handed out. ``held`` is its lock in the results folder."""

    job: Job
    held: ExitStack
    attempt: str = ""
    ref: Any = None
    begun: bool = False
    losses: int = 0


@dataclass
class ActiveJobs:
    """What is at work, by run and by the attempt that is the latest."""

    works: dict[str, ActiveJob] = field(default_factory=dict)  # key of the run

    def of(self, attempt: str) -> ActiveJob | None:
        """None for an attempt whose node was given up: it may still be talking."""
        work = self.works.get(attempt.partition("/")[0])
        return work if work is not None and work.attempt == attempt else None


class RayExecutor(Executor):
    """Carries out jobs on a Ray cluster, each in ``timeout`` seconds. ``assets``: what a node must have for them."""

    def __init__(
        self,
        folder: Path,
        plugins: Sequence[Path],
        assets: Sequence[str],
        where: ExecutorOptions,
        device: str,
        listener: Listener,
        stop: Stop,
        timeout: float | None = None,
    ) -> None:
        super().__init__(folder, listener, stop)
        self.plugins = {path.name: path.read_bytes() for path in plugins}
        self.assets, self.where, self.device, self.timeout = tuple(assets), where, device, timeout
        self.cpus = 1 if where.cpus is None else where.cpus
        self.gpus = where.gpus or 0.0
        self._handed = ActiveJobs()
        self._fits, self._looked = 0, 0.0  # how many runs fit the cluster, and when that was found
        self._told = False  # that none does

    def execute(self, jobs: Sequence[Job]) -> Summary:
        with connected(self.where.address) as self._ray:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            if self.where.gpus is None and self.device != "cpu" and any(node.get("GPU") for node in nodes):
                self.gpus = 1.0
            here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                self._ray.get_runtime_context().get_node_id(), soft=False
            )
            self._desk = self._ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
            self._task = self._ray.remote(task).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)
            return super().execute(jobs)

    # Out --------------------------------------------------------------------------------------------------------------

    def _busy(self) -> bool:
        return bool(self._handed.works)

    def _hand_out(self) -> None:
        while self._queue and len(self._handed.works) < self._room() + AHEAD:
            job = self._queue.popleft()
            held = ExitStack()
            if not held.enter_context(self.store.lock(job.run)):
                held.close()
                self._hold(job)
            elif ended := self._standing(job):
                held.close()
                self.outcome.note(job, ended, self.listener)
            else:
                self._send(ActiveJob(job, held))

    def _standing(self, job: Job) -> RunResult | None:
        """How a run that this process holds has ended already, if it has; what is damaged of it is set aside."""
        try:
            for sentence in self.store.mend(job.run):
                self.listener.say(sentence)
            if not self.store.missing(job.run, job.wanted):
                return RunResult("there")
            failure = self.store.failure(job.run)
        except StoreError as error:
            return RunResult("machine", str(error))
        if failure and not job.retry_failed:
            return RunResult("failed", f"failed earlier: {failure.reason} (--retry-failed tries again)")
        return None

    def _send(self, work: ActiveJob) -> None:
        run = work.job.run
        needed = ("record.json", "per_image.npz", "best.pt") if run in self.store else ("last.pt", "best.pt")
        errand = RemoteJob(
            job=work.job,
            files=pack(self.store.folder(run), only=needed),
            plugins=self.plugins,
            assets=self.assets,
            device="cuda" if self.gpus else "cpu",
            threads=max(1, self.cpus),
            timeout=self.timeout,
            variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
            version=vqbench.__version__,
        )
        work.attempt, work.begun = f"{run.key}/{work.losses}", False
        work.ref = self._task.remote(errand, work.attempt, self._desk)
        self._handed.works[run.key] = work

    def _room(self) -> int:
        """How many runs fit the nodes that are there now."""
        if time.monotonic() - self._looked > LOOK_EVERY:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._fits = sum(fits(node, {"CPU": self.cpus, "GPU": self.gpus}) for node in nodes)
            self._looked = time.monotonic()
            if not self._fits and not self._told:
                self._told = True
                self.listener.say(f"no node has {self.cpus} CPUs and {self.gpus:g} GPUs; waiting for one to join")
        return self._fits

    def _halt(self) -> None:
        self._ray.get(self._desk.halt.remote())
        for work in self._handed.works.values():
            if not work.begun:
                self._ray.cancel(work.ref)

    def _dismiss(self, patiently: bool) -> None:
        for work in self._handed.works.values():
            work.held.close()
        self._handed.works.clear()  # leaving the cluster, which comes next, ends the tasks

    # Back -------------------------------------------------------------------------------------------------------------

    def _hear(self, patience: float) -> None:
        works = {work.ref: work for work in self._handed.works.values()}
        ended: list[Any] = []
        if works:
            ended, _ = self._ray.wait(list(works), num_returns=len(works), timeout=patience)
        else:
            time.sleep(patience)
        messages, files = self._ray.get(self._desk.take.remote())
        for attempt, message in messages:
            if work := self._handed.of(attempt):
                self._take(work, message)
        for attempt, each in files.items():
            if work := self._handed.of(attempt):
                unpack(self.store.folder(work.job.run), each)
        for ref in ended:
            self._end(works[ref])

    def _take(self, work: ActiveJob, message: object) -> None:
        if isinstance(message, Started):
            work.begun = True
            self.listener.run_started(work.job.run, message.doing)
        elif isinstance(message, Advanced):
            self.listener.advanced(work.job.run, message.done, message.total)
        elif isinstance(message, Said):
            self.listener.say(message.text)

    def _end(self, work: ActiveJob) -> None:
        """Take what a task returned, or what became of it."""
        errors = self._ray.exceptions
        try:
            brought: RemoteResult = self._ray.get(work.ref)
        except (errors.RayTaskError, errors.TaskCancelledError) as error:
            if not isinstance(getattr(error, "cause", error), errors.TaskCancelledError):
                raise _told(error) from error
            self._close(work, RunResult("stopped", "stopped before it began"))
        except errors.OutOfMemoryError:
            reason = "out of memory on its node, where Ray ended it; run fewer at once with --cpus-per-run"
            self.store.fail(work.job.run, Failure(reason, []))
            self._close(work, RunResult("failed", reason))
        except errors.RayError as error:
            self._lost(work, f"its node was lost ({type(error).__name__})")
        else:
            unpack(self.store.folder(work.job.run), brought.files)
            if brought.evicted:
                self._lost(work, "its node told it to stop")
            else:
                self._close(work, brought.ended)

    def _lost(self, work: ActiveJob, why: str) -> None:
        """Hand the run out again, with what has come in of it."""
        work.losses += 1
        if self.stop():
            self._close(work, RunResult("stopped", why))
        elif work.losses > LOSSES:
            self._close(work, RunResult("machine", f"{why}, as {LOSSES} times before"))
        else:
            self.listener.say(f"{work.job}: {why}; it goes on elsewhere from its last checkpoint")
            self._send(work)

    def _close(self, work: ActiveJob, ended: RunResult) -> None:
        del self._handed.works[work.job.run.key]
        work.held.close()
        self.outcome.note(work.job, ended, self.listener)


def _told(error: Any) -> VqbenchError:
    """What a task raised, in a sentence: ours as it is, and else what is most likely wrong with the node."""
    cause = error.cause
    if isinstance(cause, VqbenchError):
        return type(cause)(f"on a node of the Ray cluster: {cause}")
    if isinstance(cause, ImportError):
        return UsageError(f"on a node of the Ray cluster: {cause}; install the same vqbench on every node")
    return VqbenchError(f"on a node of the Ray cluster: {type(cause).__name__}: {cause} (a fault of vqbench)")
