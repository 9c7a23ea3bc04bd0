"""Carry out one rank's part of a run: train or load its model, then evaluate it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqbench import registry, spec
from vqbench.backbone import Autoencoder, Backbone
from vqbench.dataset import Dataset
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import Damaged, Interrupted, UsageError
from vqbench.evaluation.reconstructions import Evaluator, Measurement
from vqbench.evaluation.snapshot_writer import SnapshotWriter
from vqbench.execution.messages import ProgressListener, RunSettings
from vqbench.recipe import Recipe, SecondStage, Task, Trained
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.results import selected_weights
from vqbench.system import provenance
from vqbench.system.stored_files import set_aside
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine, devices_of
from vqbench.training.model_building import build, kept_buffers, learned_state, rate, require_planned, size

if TYPE_CHECKING:
    from vqbench.evaluation.samples import SampleEvaluator
    from vqbench.execution.loggers import GuardedLogger
    from vqbench.training.capture.captured_update import UpdateCapture
    from vqbench.training.latents.generator import Generator

CHECKPOINTS = ("last.pt", "best.pt")


@dataclass(frozen=True)
class RankTask:
    """What all ranks do for one run, broadcast by rank 0."""

    run: RunSpec
    folder: Path  # of its checkpoints, which only rank 0 reads and writes
    missing: dict[str, list[str]]  # protocol -> metrics to evaluate
    train: bool
    first_stage: Path | None = None  # the folder of the run whose model, or backbone, this one builds on


@dataclass
class RankResult:
    """What a rank has trained and evaluated; that of rank 0 is stored."""

    trained: Trained | None  # None: the run was trained before
    provenance: dict[str, Any] = field(default_factory=dict)  # of the training
    measurement: Measurement = field(default_factory=lambda: Measurement({}, {}))
    evaluated: dict[str, Any] = field(default_factory=dict)  # provenance of the evaluation
    write_snapshot: Callable[[np.ndarray | None], None] | None = None  # takes LPIPS of each evaluated image, if any


class RankWorker:
    """Carries out one rank's part of runs.

    Runs on one data set share what depends on its test split alone, such as features of its images.
    """

    def __init__(
        self, settings: RunSettings, listener: ProgressListener, stopped: Callable[[], bool], group: RankGroup = ALONE
    ) -> None:
        self.settings, self.listener, self.stopped, self.group = settings, listener, stopped, group
        self.device = settings.device
        if settings.deterministic:
            from vqbench.system import determinism

            determinism.enable()
        self._loaded: PluginSpec | None = None  # the data set of the next three
        self._dataset: Dataset | None = None
        self._evaluator: Evaluator | None = None
        self._samples: SampleEvaluator | None = None
        self._logged: set[str] = set()  # why updates of a run were not captured

    def carry_out(self, task: RankTask, logger: GuardedLogger | None = None) -> RankResult:
        """Train, or load what was trained before, and evaluate.

        ``logger``, on rank 0 alone, receives losses and epochs.

        Raises VqbenchError on all ranks alike, and Interrupted where the work was stopped with its checkpoint written.
        """
        run = task.run
        self.group.on_all_ranks(lambda: require_planned(run))
        dataset = self.group.on_all_ranks(lambda: self._dataset_of(run))
        recipe: Recipe = registry.load("recipes", run.recipe.name)(**run.recipe.args)
        self._require_devices()
        engine = Engine(self.device, recipe.precision, self.group)
        model = self._initial_model(task, engine, dataset)
        untrained = kept_buffers(model) if task.train else {}
        trained = None
        if task.train:
            self.listener.run_started(run, "training")
            training = self._training(task, recipe, engine, dataset, model, logger)
            try:
                trained = recipe.fit(training)
            except Damaged as error:
                self._set_checkpoints_aside(task, error)
                engine = training.engine = Engine(self.device, recipe.precision, self.group)  # without the old model
                model = training.model = self._initial_model(task, engine, dataset)
                training.capture = self._capture(recipe, model, engine)
                trained = recipe.fit(training)
        subject: Autoencoder | Generator = model
        if isinstance(recipe, SecondStage):
            subject = recipe.generator(model, dataset.channels, dataset.size)
            untrained = kept_buffers(subject) if task.train else {}
        if trained is None or subject is not model:
            self._restore(subject, task.folder, engine)
        result = RankResult(trained)
        if trained is not None:
            result.provenance = self._training_provenance(engine, dataset, subject, untrained, trained)
            if training.capture is not None:
                result.provenance["capture"] = training.capture.about()
        started = time.monotonic()
        if isinstance(recipe, SecondStage):
            self._evaluate_samples(task, recipe, engine, dataset, subject, result)
        else:
            self._evaluate_reconstructions(task, engine, dataset, model, result)
        seconds = round(time.monotonic() - started, 1)
        speeds = result.measurement.speeds
        result.evaluated = {**self._provenance(engine), "seconds": seconds, "metrics": task.missing, **speeds}
        return result

    def _initial_model(self, task: RankTask, engine: Engine, dataset: Dataset) -> Autoencoder:
        """Build the autoencoder of a run, with weights of its parent if it has one."""
        model = build(task.run, dataset).to(engine.device)
        if task.first_stage is None:
            return model
        if registry.load("recipes", task.run.recipe.name).second_stage:
            self._restore(model, task.first_stage, engine)
            model.requires_grad_(False)
        elif task.train:
            self._restore_backbone(model.backbone, task.first_stage, engine)
        return model

    def _training(
        self,
        task: RankTask,
        recipe: Recipe,
        engine: Engine,
        dataset: Dataset,
        model: Autoencoder,
        logger: GuardedLogger | None,
    ) -> Task:
        """Return what the recipe is given to train with."""
        run = task.run
        return Task(
            model=model,
            dataset=dataset,
            seeds=spec.seeds(run.seed, run.dataset.name),
            engine=engine,
            folder=task.folder,
            monitor=CodebookMonitor(),
            progress=lambda done, total: self.listener.run_advanced(run, done, total),
            stopped=self.stopped,
            on_epoch=logger.epoch if logger else lambda entry: None,
            on_updates=logger.updates if logger else None,
            checkpoint_interval=self.settings.checkpoint_interval,
            capture=self._capture(recipe, model, engine),
        )

    def _capture(self, recipe: Recipe, model: Autoencoder, engine: Engine) -> UpdateCapture | None:
        """Return what captures the updates of a run, if the settings ask for it.

        The same reason for a refusal is logged once.
        """
        if not self.settings.capture:
            return None
        from vqbench.training.capture.captured_update import UpdateCapture

        def log(sentence: str) -> None:
            if sentence not in self._logged:
                self._logged.add(sentence)
                self.listener.log(sentence)

        return UpdateCapture(recipe, model.quantizer, engine, log)

    def _set_checkpoints_aside(self, task: RankTask, error: Damaged) -> None:
        """Rename both checkpoints, since one is of no use without the other."""
        self.group.from_first_rank(lambda: _set_aside(task.folder))
        name = task.run.quantizer.name
        self.listener.log(f"{error}; set aside as .damaged, so {name} is trained from its start")

    def _restore(self, model: Autoencoder | Generator, folder: Path, engine: Engine) -> None:
        """Load the selected weights in ``folder``. Raises StoreError or Damaged."""
        path = self.group.from_first_rank(lambda: selected_weights(folder))
        weights = engine.load(path)
        with engine.restoring(path):
            model.load_state_dict(weights)

    def _restore_backbone(self, backbone: Backbone, folder: Path, engine: Engine) -> None:
        """Load the backbone of the run in ``folder``. Raises StoreError or Damaged."""
        path = self.group.from_first_rank(lambda: selected_weights(folder))
        weights, start = engine.load(path), "backbone."
        with engine.restoring(path):
            backbone.load_state_dict(
                {name.removeprefix(start): each for name, each in weights.items() if name.startswith(start)}
            )

    def _evaluate_reconstructions(
        self, task: RankTask, engine: Engine, dataset: Dataset, model: Autoencoder, result: RankResult
    ) -> None:
        """Evaluate the missing metrics on reconstructions, into ``result``."""
        self.listener.run_started(task.run, "evaluating")
        if self._evaluator is None:
            self._evaluator = Evaluator(dataset, engine.device, group=self.group)
        writer = SnapshotWriter(model, engine.device)
        progress = self._evaluation_progress(task.run)
        seeds = spec.seeds(task.run.seed, task.run.dataset.name)
        result.measurement = self._evaluator.measure(model, task.missing, progress, see=writer.see, seeds=seeds)
        counts = writer.counts()
        if not dataset.of_features:  # there is no image to keep
            result.write_snapshot = partial(writer.draw, task.folder, dataset, counts)

    def _evaluate_samples(
        self,
        task: RankTask,
        recipe: SecondStage,
        engine: Engine,
        dataset: Dataset,
        generator: Any,
        result: RankResult,
    ) -> None:
        """Evaluate the missing metrics on samples of the generator, into ``result``."""
        from vqbench.evaluation.samples import SampleEvaluator

        run = task.run
        self.listener.run_started(run, "sampling")
        if self._samples is None:
            self._samples = SampleEvaluator(dataset, engine.device, self.group)
        result.measurement = self._samples.measure(
            generator,
            spec.seeds(run.seed, run.dataset.name),
            task.folder,
            task.missing,
            self._evaluation_progress(run),
            trained_on=recipe.subset,
            anew=task.train,
            mirrored=recipe.mirrored,
        )

    def _evaluation_progress(self, run: RunSpec) -> Callable[[int, int], None]:
        """Return the function that receives the images done and in all.

        It raises Interrupted where the work must stop.
        """

        def advanced(done: int, total: int) -> None:
            self.listener.run_advanced(run, done, total)
            if self.stopped():
                raise Interrupted("stopped while evaluating")

        return advanced

    def _training_provenance(
        self,
        engine: Engine,
        dataset: Dataset,
        model: Autoencoder | Generator,
        untrained: dict[str, Any],
        trained: Trained,
    ) -> dict[str, Any]:
        """Return the provenance of a training, with size and bit rate of the model."""
        if trained.origins is None:  # of a recipe that does not keep them
            trained.origins = []
            engine.add_origin(trained.origins)
        return {
            **self._provenance(engine),
            "seconds": round(trained.seconds, 1),
            "parameters": size(model),
            "origins": trained.origins,
            "state": learned_state(model, untrained),
            **(rate(model, dataset, engine.device) if isinstance(model, Autoencoder) else {}),
        }

    def _provenance(self, engine: Engine) -> dict[str, Any]:
        switches = {"deterministic": True} if self.settings.deterministic else {}
        return {**provenance.current_provenance(engine.device), "devices": self.group.size, **switches}

    def _require_devices(self) -> None:
        """Raise UsageError, on all ranks, unless each has a device, all of the same kind."""
        group = self.group
        device = group.on_all_ranks(lambda: devices_of(self.device, group.local_size)[group.local_rank])
        kinds = set(group.gather(device.type))
        if len(kinds) > 1:
            raise UsageError(f"ranks have different devices ({' and '.join(sorted(kinds))}); set --device cpu or cuda")

    def _dataset_of(self, run: RunSpec) -> Dataset:
        """Return the data set of ``run``, kept until a run on another one."""
        if self._dataset is None or self._loaded != run.dataset:
            self._evaluator = self._samples = None
            self._dataset = registry.load("datasets", run.dataset.name)(**run.dataset.args)
            self._loaded = run.dataset
        return self._dataset


def _set_aside(folder: Path) -> None:
    for path in (folder / name for name in CHECKPOINTS):
        if path.exists():
            set_aside(path)
