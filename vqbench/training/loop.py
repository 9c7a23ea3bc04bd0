"""The training loop of all recipes, from checkpoint to last update.

It owns what no method should decide anew: the order of images, the seed of every update, sums over an epoch, the check
for losses that are not finite, the average of weights, history, checkpoints, stopping, and that ranks stay equal. A
recipe describes its method as a :class:`Training`.

Random numbers of an update derive from the run's seed and the update's number, so that a training that was stopped
anywhere ends with the same weights, bit for bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from vqbench.errors import Interrupted, RunError
from vqbench.quantizer import Quantizer
from vqbench.recipe import Task, Trained
from vqbench.training.checkpoint import Clock, Progress, restored

if TYPE_CHECKING:
    from vqbench.training.ema import WeightAverage


LOG_UPDATES = 50  # updates between two reports of mean losses, which wait for the device


class Stateful(Protocol):
    """A part of a training that a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any, /) -> Any: ...


class Training(ABC):
    """A method as the loop needs it: its update, end of epoch and state.

    An epoch has ``per_epoch`` updates; the last update, and those in ``phase_ends``, end one early.
    """

    terms: ClassVar[tuple[str, ...]] = ("loss",)  # what an update returns; fields of ``progress`` hold their sums
    owner: str  # named where a loss is not finite
    images: int  # that an epoch draws from
    per_epoch: int  # updates
    total: int  # updates of the whole training
    progress: Progress
    phase_ends: tuple[int, ...] = ()
    quantizer: Quantizer | None = None  # whose codes the monitor counts
    average: WeightAverage | None = None  # updated by the loop

    @abstractmethod
    def parts(self) -> Mapping[str, Stateful]:
        """Return what a checkpoint keeps, by its names there."""

    def replicas(self) -> Mapping[str, nn.Module]:
        """Return the modules that all ranks must hold equal, by name."""
        return {}

    def resume(self, step: int) -> None:  # noqa: B027  # most have nothing to prepare
        """Prepare for loading the state kept after ``step`` updates."""

    def begin(self) -> None:  # noqa: B027  # likewise
        """Prepare for the next update; not called where all updates are done."""

    @abstractmethod
    def start_epoch(self, epoch: int, order: Tensor, position: int) -> None:
        """Draw batches from ``order`` (images,), from ``position`` on.

        ``epoch`` counts from 0.
        """

    @abstractmethod
    def update(self, step: int, position: int) -> Tensor:
        """Do update ``step`` on batch ``position`` of the epoch.

        Both count from 0. Returns the terms, (terms,), of the whole batch.
        """

    def end_epoch(self, epoch: int, means: dict[str, float]) -> dict[str, Any]:
        """Return what the history keeps of an epoch, given mean terms.

        ``epoch`` counts from 1.
        """
        return means

    def save_selected(self) -> None:  # noqa: B027  # most select nothing before their end
        """Write the weights that the progress refers to; called before each checkpoint.

        A kill in between leaves weights that are newer than the checkpoint: resumed from it, the training selects and
        writes them again.
        """

    @abstractmethod
    def finish(self) -> None:
        """Leave the weights to evaluate in ``best.pt`` and in the task's model."""

    def ends_epoch(self, step: int) -> bool:
        """Return whether an epoch has ended after ``step`` updates."""
        return step % self.per_epoch == 0 or step in (*self.phase_ends, self.total)

    def updates_of_epoch(self, step: int) -> int:
        """Return how many of ``step`` updates belong to the epoch of the last one."""
        starts = [(step - 1) // self.per_epoch * self.per_epoch, *(end for end in self.phase_ends if end < step)]
        return step - max(starts)


def epoch_order(task: Task, epoch: int, images: int) -> Tensor:
    """Return the order of the training images in an epoch, (images,).

    It is the same for all quantizers of a seed.
    """
    return torch.randperm(images, generator=torch.Generator().manual_seed(task.seeds("order", epoch)))


class TrainingLoop:
    """Carries out a :class:`Training` for a task."""

    def __init__(self, task: Task, training: Training) -> None:
        self.task, self.training = task, training
        self.path = task.folder / "last.pt"

    def run(self) -> Trained:
        """Train to the last update.

        Raises Interrupted where the task is stopped before, and RunError where the training fails.
        """
        task, training = self.task, self.training
        task.engine.group.from_first_rank(lambda: task.folder.mkdir(parents=True, exist_ok=True))
        self._restore()
        if training.progress.step < training.total:
            self._train()
        task.monitor.save(task.folder)
        training.finish()
        progress = training.progress
        return Trained(seconds=progress.seconds, history=progress.history, origins=progress.origins)

    def _train(self) -> None:
        task, training, progress = self.task, self.training, self.training.progress
        task.engine.add_origin(progress.origins)
        clock = Clock(progress.seconds, task.checkpoint_interval)
        training.begin()
        device = task.engine.device
        self._sums = torch.tensor([getattr(progress, term) for term in training.terms], device=device)  # read seldom
        self._finite = torch.zeros((), dtype=torch.int64, device=device)  # updates before any NaN, since the last check
        self._checked = progress.step  # updates done at the last check
        self._started = False  # whether the epoch at hand has its order
        self._mark_report()
        while progress.step < training.total:
            self._update()
            stopped, due = self._decide(clock)
            ended = training.ends_epoch(progress.step)
            if ended or due:
                self._check()
            if ended:
                self._end_epoch()
            if due:
                with clock.saving():
                    progress.seconds = clock.seconds
                    self._save()
            if stopped:
                raise Interrupted(f"stopped after update {progress.step} of {training.total}")

    def _update(self) -> None:
        task, training, progress = self.task, self.training, self.training.progress
        epoch, position = divmod(progress.step, training.per_epoch)
        if not self._started or position == 0:
            training.start_epoch(epoch, epoch_order(task, epoch, training.images), position)
            self._started = True
        task.engine.seed(task.seeds("update", progress.step))
        self._sums += training.update(progress.step, position)
        self._finite += self._sums.isfinite().all()
        progress.step += 1
        if training.average is not None:
            training.average.update(progress.step)
        task.progress(progress.step, training.total)
        if task.on_updates is not None and progress.step % LOG_UPDATES == 0:
            sums = self._sums - self._reported
            means = (sums / (progress.step - self._reported_at)).tolist()
            task.on_updates(progress.step, dict(zip(training.terms, means, strict=True)))
            self._mark_report()

    def _mark_report(self) -> None:
        """Note the sums of the terms, from which the next report counts."""
        self._reported, self._reported_at = self._sums.clone(), self.training.progress.step

    def _decide(self, clock: Clock) -> tuple[bool, bool]:
        """Return whether to stop, and whether to save, as rank 0 decides."""
        decision = self.task.engine.group.broadcast_number(2 * self.task.stopped() + clock.due())
        done = self.training.progress.step == self.training.total
        return decision > 1 and not done, decision > 0 or done

    def _check(self) -> None:
        """Read the sums of the terms.

        Raises RunError where one is not finite, naming the first such update, or where ranks differ.
        """
        task, training, progress = self.task, self.training, self.training.progress
        for term, total in zip(training.terms, self._sums.tolist(), strict=True):
            setattr(progress, term, total)
            if not math.isfinite(total):
                first = self._checked + int(self._finite) + 1
                raise RunError(
                    f"the {term if term == 'loss' else f'term {term!r}'} of {training.owner} became {total} at update "
                    f"{first} of {training.total}, in epoch {(first - 1) // training.per_epoch + 1}; lower the "
                    f"learning rate, or report {training.owner} if its defaults do this"
                )
        self._checked = progress.step
        self._finite.zero_()
        for name, module in training.replicas().items():
            task.engine.require_equal(module, name)

    def _end_epoch(self) -> None:
        task, training, progress = self.task, self.training, self.training.progress
        epoch, updates = (progress.step - 1) // training.per_epoch + 1, training.updates_of_epoch(progress.step)
        means = {term: getattr(progress, term) / updates for term in training.terms}
        entry = {"epoch": epoch, **training.end_epoch(epoch, means), **task.monitor.epoch_ended()}
        progress.history.append(entry)
        task.on_epoch(entry)
        self._sums.zero_()
        for term in training.terms:
            setattr(progress, term, 0.0)
        self._mark_report()

    def _save(self) -> None:
        self.training.save_selected()
        parts = {name: part.state_dict() for name, part in self.training.parts().items()}
        kept = {**parts, "progress": asdict(self.training.progress), "watch": self.task.monitor.state()}
        self.task.engine.save(self.path, kept)

    def _restore(self) -> None:
        """Load the last checkpoint, if one exists.

        Raises Damaged where it is not one of this training.
        """
        task, training = self.task, self.training
        saved = task.engine.load(self.path) if task.engine.group.from_first_rank(self.path.exists) else None
        with task.engine.restoring(self.path):
            if training.quantizer is not None:
                counts = None if saved is None else saved.get("watch")
                task.monitor.start(training.quantizer, task.engine.device, counts)
            if saved is None:
                return
            training.progress = restored(type(training.progress), saved["progress"])
            training.resume(training.progress.step)
            for name, part in training.parts().items():
                part.load_state_dict(saved[name])
