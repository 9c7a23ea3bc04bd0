"""One process's part in a run, which may be all of it: load, train, measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vqbench import registry
from vqbench.dataset import Dataset
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import Damaged, Interrupted, StoreError, UsageError
from vqbench.evaluation.reconstructions import Evaluator, Measurement
from vqbench.evaluation.samples import SampleEvaluator
from vqbench.evaluation.snapshot_writer import SnapshotWriter
from vqbench.execution.callbacks import listener
from vqbench.execution.model_building import build, kept_buffers, learned_state, rate, require_planned, size
from vqbench.execution.provenance import made
from vqbench.model import Autoencoder
from vqbench.planning.jobs import Listener
from vqbench.recipe import Recipe, SecondStage, Task, Trained
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.results import set_aside
from vqbench.system import determinism
from vqbench.training import seeding
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine, devices_of
from vqbench.training.latents.generator import Generator

CHECKPOINTS = ("last.pt", "best.pt")


@dataclass(frozen=True)
class RankTask:
    """What all ranks do of a run."""

    run: RunSpec
    folder: Path  # of its checkpoints, for the first rank
    missing: dict[str, list[str]]  # protocol -> metrics to measure
    train: bool
    first: Path | None = None  # the folder of the run that it builds on


@dataclass
class RankResult:
    """What came of it; on the first rank, what is to be stored."""

    measurement: Measurement
    measured: dict[str, Any]  # how, when and where
    trained: Trained | None = None
    made: dict[str, Any] = field(default_factory=dict)  # likewise, of the training
    portrait: Callable[[np.ndarray | None], None] | None = None  # keeps it, given LPIPS of the measured images


class RankWorker:
    """One rank's part in runs, or the whole of them; runs on one data set share what depends on its test split."""

    def __init__(self, device: str, listener: Listener, stopped: Callable[[], bool], group: RankGroup = ALONE) -> None:
        self.device, self.listener, self.stopped, self.group = device, listener, stopped, group
        self._dataset: Dataset | None = None
        self._evaluator: Evaluator | None = None
        self._samples: SampleEvaluator | None = None
        self._part: PluginSpec | None = None  # which data set these are of

    def do(self, work: RankTask) -> RankResult:
        """Train, or load what was trained, and measure."""
        run = work.run
        self.group.together(lambda: require_planned(run))
        dataset = self.group.together(lambda: self._load(run.dataset))
        recipe: Recipe = registry.load("recipes", run.recipe.name)(**run.recipe.args)
        self._require_devices()
        engine = Engine(self.device, getattr(recipe, "precision", "float32"), self.group)
        model = self._model(work, engine, dataset)
        trained, told = None, {}
        before = kept_buffers(model) if work.train else {}
        if work.train:
            self.listener.run_started(run, "training")
            model, trained = self._trained(work, recipe, engine, dataset, model)
        judged: Autoencoder | Generator = model
        if isinstance(recipe, SecondStage):
            judged = recipe.generator(model, dataset.channels, dataset.size)
            before = kept_buffers(judged) if work.train else {}
        if judged is not model or not work.train:
            self._restore(judged, work.folder, engine)
        if trained is not None:
            told = {**self._made(engine), "seconds": round(trained.seconds, 1), "parameters": size(judged)}
            if trained.origins is None:  # of a recipe that does not keep them
                trained.origins = []
                engine.add_origin(trained.origins)
            told["origins"] = trained.origins
            told["state"] = learned_state(judged, before)
            told |= rate(judged, dataset, engine.device) if isinstance(judged, Autoencoder) else {}
        started = time.monotonic()
        sitting = SnapshotWriter(judged, engine.device) if isinstance(judged, Autoencoder) else None
        measurement = self._measured(work, engine, dataset, judged, sitting)
        how = {**self._made(engine), "seconds": round(time.monotonic() - started, 1), "metrics": work.missing}
        portrait = None if sitting is None else partial(sitting.draw, work.folder, dataset, sitting.counts())
        return RankResult(measurement, how, trained, told, portrait)

    def _model(self, work: RankTask, engine: Engine, dataset: Dataset) -> Autoencoder:
        """The autoencoder of the run, untrained or, of a second stage, as the first one left it."""
        model = build(work.run, dataset).to(engine.device)
        if (first := work.first) is not None:
            self._restore(model, first, engine)
            model.requires_grad_(False)
        return model

    def _restore(self, model: Autoencoder | Generator, folder: Path, engine: Engine) -> None:
        """Load the weights that were selected in ``folder``. Raises StoreError, or Damaged, where that fails."""
        path = self.group.agree(lambda: _checkpoint(folder))
        weights = engine.load(path)
        with engine.restoring(path):
            model.load_state_dict(weights)

    def _measured(
        self,
        work: RankTask,
        engine: Engine,
        dataset: Dataset,
        model: Autoencoder | Generator,
        sitting: SnapshotWriter | None,
    ) -> Measurement:
        """The missing numbers: of reconstructions of the test split or, of a generator, of what it makes."""
        run = work.run
        told = partial(self._measuring, run)
        if isinstance(model, Generator):
            self.listener.run_started(run, "sampling")
            if self._samples is None:
                self._samples = SampleEvaluator(dataset, engine.device, self.group)
            seeds = seeding.seeds(run.seed, run.dataset.name)
            args = run.recipe.args
            return self._samples.measure(
                model,
                seeds,
                work.folder,
                work.missing,
                told,
                trained_on=args.get("subset"),
                anew=work.train,
                mirrored=args.get("flips", False),
            )
        self.listener.run_started(run, "measuring")
        if self._evaluator is None:
            self._evaluator = Evaluator(dataset, engine.device, group=self.group)
        assert sitting is not None  # of every autoencoder
        return self._evaluator.measure(model, work.missing, told, see=sitting.see)

    def _require_devices(self) -> None:
        """Raises UsageError, on all ranks, where one lacks its device, or a machine has none of what others have."""
        group = self.group
        device = group.together(lambda: devices_of(self.device, group.local_size)[group.local_rank])
        kinds = set(group.gather(device.type))
        if len(kinds) > 1:
            raise UsageError(f"ranks have different devices ({' and '.join(sorted(kinds))}); set --device cpu or cuda")

    def _made(self, engine: Engine) -> dict[str, Any]:
        how = {"deterministic": True} if determinism.demanded() else {}
        return {**made(engine.device), "devices": self.group.size, **how}

    def _load(self, part: PluginSpec) -> Dataset:
        if self._dataset is None or self._part != part:
            self._evaluator = self._samples = None
            self._dataset = registry.load("datasets", part.name)(**part.args)
            self._part = part
        return self._dataset

    def _trained(
        self, work: RankTask, recipe: Recipe, engine: Engine, dataset: Dataset, model: Autoencoder
    ) -> tuple[Autoencoder, Trained]:
        """The model, trained from its last checkpoint or, where a checkpoint is damaged, once more from its start."""
        run, folder = work.run, work.folder
        task = Task(
            model=model,
            dataset=dataset,
            seeds=seeding.seeds(run.seed, run.dataset.name),
            engine=engine,
            folder=folder,
            monitor=CodebookMonitor(),
            progress=lambda done, total: self.listener.advanced(run, done, total),
            stopped=self.stopped,
            on_epoch=listener(run, folder, self.listener.say) if self.group.leads else lambda epoch: None,
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
