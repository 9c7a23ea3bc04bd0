"""Carry out one run after the other: train, evaluate, store. Whatever goes wrong ends in the run's own outcome."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqbench import registry, seeding
from vqbench.building import build, size
from vqbench.dataset import Dataset
from vqbench.engine import Engine, devices_of
from vqbench.errors import (
    AssetError,
    Damaged,
    Interrupted,
    NotDistributed,
    RunError,
    StoreError,
    Unwritable,
    UsageError,
    VqbenchError,
)
from vqbench.evaluate import Evaluator, Measurement
from vqbench.generation import SampleEvaluator
from vqbench.generator import Generator
from vqbench.group import ALONE, Group
from vqbench.job import Ended, Job, Listener
from vqbench.launched import launched
from vqbench.listening import listener
from vqbench.model import Autoencoder
from vqbench.provenance import made
from vqbench.recipe import Recipe, SecondStage, Task, Trained
from vqbench.sitting import Sitting, lpips_of
from vqbench.spec import Part, RunSpec
from vqbench.store import LOG_LINES, Failure, Record, ResultStore, set_aside
from vqbench.team import Team

CHECKPOINTS = ("last.pt", "best.pt")
ASKED = re.compile(r"tried to allocate ([\d.]+ ?\w+)", re.IGNORECASE)  # in torch's sentence on any device


@dataclass(frozen=True)
class Work:
    """What all ranks do of a run."""

    run: RunSpec
    folder: Path  # of its checkpoints, for the first rank
    missing: dict[str, list[str]]  # protocol -> metrics to measure
    train: bool
    first: Path | None = None  # the folder of the run that it builds on


@dataclass
class Done:
    """What came of it; on the first rank, what is to be stored."""

    measurement: Measurement
    measured: dict[str, Any]  # how, when and where
    trained: Trained | None = None
    made: dict[str, Any] = field(default_factory=dict)  # likewise, of the training
    portrait: Callable[[np.ndarray | None], None] | None = None  # keeps it, given LPIPS of the measured pictures


class Rank:
    """One rank's part in runs, or the whole of them; runs on one data set share what depends on its test split."""

    def __init__(self, device: str, listener: Listener, stopped: Callable[[], bool], group: Group = ALONE) -> None:
        self.device, self.listener, self.stopped, self.group = device, listener, stopped, group
        self._dataset: Dataset | None = None
        self._evaluator: Evaluator | None = None
        self._samples: SampleEvaluator | None = None
        self._part: Part | None = None  # which data set these are of

    def do(self, work: Work) -> Done:
        """Train, or load what was trained, and measure."""
        run = work.run
        dataset = self.group.together(lambda: self._load(run.dataset))
        recipe: Recipe = registry.load("recipes", run.recipe.name)(**run.recipe.args)
        engine = Engine(self.device, getattr(recipe, "precision", "float32"), self.group)
        model = self._model(work, engine, dataset)
        trained, told = None, {}
        if work.train:
            self.listener.run_started(run, "training")
            model, trained = self._trained(work, recipe, engine, dataset, model)
        judged: Autoencoder | Generator = model
        if isinstance(recipe, SecondStage):
            judged = recipe.generator(model, dataset.channels, dataset.size)
        if judged is not model or not work.train:
            judged.load_state_dict(engine.load(self.group.agree(lambda: _checkpoint(work.folder))))
        if trained is not None:
            told = {**self._made(engine), "seconds": round(trained.seconds, 1), "parameters": size(judged)}
        started = time.monotonic()
        sitting = Sitting(judged, engine.device) if isinstance(judged, Autoencoder) else None
        measurement = self._measured(work, engine, dataset, judged, sitting)
        how = {**self._made(engine), "seconds": round(time.monotonic() - started, 1), "metrics": work.missing}
        portrait = None if sitting is None else partial(sitting.draw, work.folder, dataset, sitting.counts())
        return Done(measurement, how, trained, told, portrait)

    def _model(self, work: Work, engine: Engine, dataset: Dataset) -> Autoencoder:
        """The autoencoder of the run, untrained or, of a second stage, as the first one left it."""
        model = build(work.run, dataset).to(engine.device)
        if (first := work.first) is not None:
            model.load_state_dict(engine.load(self.group.agree(lambda: _checkpoint(first))))
            model.requires_grad_(False)
        return model

    def _measured(
        self,
        work: Work,
        engine: Engine,
        dataset: Dataset,
        model: Autoencoder | Generator,
        sitting: Sitting | None,
    ) -> Measurement:
        """The missing numbers: of reconstructions of the test split or, of a generator, of what it makes."""
        run = work.run
        told = partial(self._measuring, run)
        if isinstance(model, Generator):
            self.listener.run_started(run, "sampling")
            if self._samples is None:
                self._samples = SampleEvaluator(dataset, engine.device, self.group)
            seeds = seeding.seeds(run.seed, run.dataset.name)
            return self._samples.measure(
                model, seeds, work.folder, work.missing, told, run.recipe.args.get("subset"), work.train
            )
        self.listener.run_started(run, "measuring")
        if self._evaluator is None:
            self._evaluator = Evaluator(dataset, engine.device, group=self.group)
        assert sitting is not None  # of every autoencoder
        return self._evaluator.measure(model, work.missing, told, see=sitting.see)

    def _made(self, engine: Engine) -> dict[str, Any]:
        return {**made(engine.device), "devices": self.group.size}

    def _load(self, part: Part) -> Dataset:
        if self._dataset is None or self._part != part:
            self._evaluator = self._samples = None
            self._dataset = registry.load("datasets", part.name)(**part.args)
            self._part = part
        return self._dataset

    def _trained(
        self, work: Work, recipe: Recipe, engine: Engine, dataset: Dataset, model: Autoencoder
    ) -> tuple[Autoencoder, Trained]:
        """The model, trained from its last checkpoint or, where a checkpoint is damaged, once more from its start."""
        run, folder = work.run, work.folder
        task = Task(
            model=model,
            dataset=dataset,
            seeds=seeding.seeds(run.seed, run.dataset.name),
            engine=engine,
            folder=folder,
            progress=lambda done, total: self.listener.advanced(run, done, total),
            stopped=self.stopped,
            told=listener(run, folder, self.listener.say) if self.group.leads else lambda epoch: None,
        )
        try:
            return model, recipe.fit(task)
        except Damaged as error:
            self.group.agree(lambda: _set_aside(folder))
            self.listener.say(f"{error}; set aside as .damaged, so {run.quantizer.name} is trained from its start")
        task.model = self._model(work, engine, dataset)
        return task.model, recipe.fit(task)

    def _measuring(self, run: RunSpec, done: int, total: int) -> None:
        self.listener.advanced(run, done, total)
        if self.stopped():
            raise Interrupted("stopped while measuring")


class Runner:
    """Carries out runs in this process, or in it and those that follow it: ``devices`` in all."""

    def __init__(
        self, folder: Path, device: str, listener: Listener, stopped: Callable[[], bool], devices: int = 1
    ) -> None:
        self.store, self.device, self.listener, self.devices = ResultStore(folder), device, listener, devices
        self.stopped = stopped
        self.broken = False  # whether ranks are gone that this process cannot start again
        self._team: Team | None = None
        self._rank: Rank | None = None

    def attempt(self, job: Job) -> Ended:
        """Do what is missing of a run, unless another process holds it. A failure is recorded and returned."""
        run = job.run
        try:
            with self.store.lock(run) as held:
                if not held:
                    return Ended("held")
                for sentence in self.store.mend(run):
                    self.listener.say(sentence)
                if not self.store.missing(run, job.wanted):
                    return Ended("there")
                failure = self.store.failure(run)
                if failure and not job.retry_failed:
                    return Ended("failed", f"failed earlier: {failure.reason} (--retry-failed tries again)")
                if job.first is not None and job.first not in self.store:
                    return self._without(job.first)
                return self._contained(job)
        except Unwritable as error:
            return Ended("unwritable", str(error))

    def _without(self, first: RunSpec) -> Ended:
        """What becomes of a run whose first stage is not done: it waits while another process is at that."""
        if self.store.folder(first).exists() and self.store.is_locked(first):
            return Ended("held")
        failure = self.store.failure(first)
        why = f"failed: {failure.reason}" if failure else "is not there; the same command does it first"
        return Ended("machine", f"its first stage, {first.key}, {why}")

    def close(self) -> None:
        """Let the processes go that follow this one, if there are any. Only between runs."""
        if self.devices > 1 and launched() and not self.broken:
            self._ranks()  # they are there, and wait, though no run may have been left
        if self._team is not None:
            self._team.dismiss()
        self._team = self._rank = None

    def _contained(self, job: Job) -> Ended:
        try:
            self._carry_out(job)
        except (KeyboardInterrupt, Unwritable):
            self._part()
            raise
        except (Interrupted, BrokenPipeError) as error:  # the latter: whoever reads what is printed is gone
            self._part()
            return Ended("stopped", str(error))
        except NotDistributed as error:  # which nobody has begun; the next run may be fit for it
            return Ended("machine", str(error))
        except UsageError as error:
            return Ended("refused", str(error))
        except (AssetError, StoreError) as error:  # the machine's fault, not the run's: nothing is held against it
            return Ended("machine", str(error))
        except Exception as error:
            why, sound = _reason(error), isinstance(error, RunError)
            if not sound:
                why = self._part(blame=True) or why
            self.store.fail(job.run, Failure(why, traceback.format_exc().splitlines()[-LOG_LINES:]))
            return Ended("failed", why, sound)
        return Ended("done")

    def _part(self, blame: bool = False) -> str | None:
        """Give up the ranks, who are not where this one is; who of them has caused that, and how, if one has."""
        team, self._team, self._rank = self._team, None, None
        if team is None:
            return None
        why = team.blame() if blame else None
        self.broken = not team.followers
        team.end()
        return why

    def _carry_out(self, job: Job) -> None:
        run = job.run
        record = self.store.read(run)
        first = None if job.first is None else self.store.folder(job.first)
        work = Work(run, self.store.folder(run), self.store.missing(run, job.wanted), record is None, first)
        if self.devices > 1 and work.train:
            require_distributed(run)
        rank = self._ranks()
        if self._team is not None:
            self._team.tell(work)
        done = rank.do(work)
        if record is None:
            assert done.trained is not None
            record = Record(run, {}, done.made, done.trained.history)
        record.made["measured"] = [*record.made.get("measured", []), done.measured]
        for protocol, values in done.measurement.values.items():
            record.values.setdefault(protocol, {}).update(values)
        self.store.write_images(run, done.measurement.images)
        if done.portrait is not None:
            done.portrait(lpips_of(self.store.read_images(run)))
        self.store.write(record)

    def _ranks(self) -> Rank:
        """This process's part; at the first run, the others are started."""
        if self._rank is None:
            if self.devices > 1:
                devices_of(self.device, self.devices)  # raises for devices that this machine lacks
                self._team = Team(self.devices, self.device, registry.files())
            group = ALONE if self._team is None else self._team.group
            self._rank = Rank(self.device, self.listener, self.stopped, group)
        return self._rank


class Silent:
    """A Listener that tells nobody: the first rank does."""

    def run_started(self, run: RunSpec, doing: str) -> None: ...
    def advanced(self, run: RunSpec, done: int, total: int) -> None: ...
    def run_ended(self, run: RunSpec, outcome: str) -> None: ...
    def say(self, text: str) -> None: ...


def follow(group: Group, device: str) -> None:
    """Do as the first rank does, run after run, until it has no more to tell.

    An error that a user can act on is one of all ranks, and theirs is the next run; any other ends this process, whose
    last line the first rank repeats.
    """
    rank = Rank(device, Silent(), lambda: False, group)
    while (work := group.hear()) is not None:
        try:
            with suppress(VqbenchError):
                rank.do(work)
        except Exception as error:
            traceback.print_exc()
            print(_reason(error), file=sys.stderr, flush=True)
            os._exit(1)  # at once, or what waits for the others inside torch would wait on


def require_distributed(run: RunSpec) -> None:
    """Raises NotDistributed for a run whose method, or recipe, is not made for several devices."""
    plugins: dict[str, Any] = {run.recipe.name: registry.load("recipes", run.recipe.name)}
    if run.parent is None:  # else its codebook is not learned any more
        plugins[run.quantizer.name] = registry.load("quantizers", run.quantizer.name)
    for name, plugin in plugins.items():
        if not plugin.distributed:
            raise NotDistributed(
                f"{name} is not made for several devices (distributed = False), whose codebooks would part; run it "
                "with --devices 1"
            )


def _checkpoint(folder: Path) -> Path:
    path = folder / "best.pt"
    if not path.exists():
        raise StoreError(f"{path}: the checkpoint was removed; delete its folder to train the run again")
    return path


def _set_aside(folder: Path) -> None:
    """Give damaged checkpoints another name: all, since either is worth nothing without the other."""
    for path in (folder / name for name in CHECKPOINTS):
        if path.exists():
            set_aside(path)


def _reason(error: Exception) -> str:
    """Why a run failed, in one sentence."""
    if isinstance(error, RunError):
        return str(error)
    asked = ASKED.search(str(error))
    if asked or isinstance(error, MemoryError | torch.OutOfMemoryError):
        amount = f" (asked for {asked[1]} more)" if asked else ""
        return (
            f"out of memory{amount}; run fewer at once with --places, divide the batch with --devices, or use a device "
            "with more; the batch is not computed in parts, since codebooks depend on all of it at once"
        )
    return f"{type(error).__name__}: {error}"
