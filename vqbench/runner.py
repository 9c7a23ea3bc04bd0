"""Carry out one run after the other: train, evaluate, store. Whatever goes wrong ends in the run's own outcome."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vqbench import registry, seeding
from vqbench.dataset import Dataset
from vqbench.engine import Engine
from vqbench.errors import AssetError, Damaged, Interrupted, RunError, StoreError, Unwritable, UsageError
from vqbench.evaluate import Evaluator
from vqbench.job import Ended, Job, Listener
from vqbench.model import Autoencoder
from vqbench.provenance import made
from vqbench.recipe import Recipe, Task, Trained
from vqbench.spec import Part, RunSpec
from vqbench.store import LOG_LINES, Failure, Record, ResultStore, set_aside

CHECKPOINTS = ("last.pt", "best.pt")
ASKED = re.compile(r"tried to allocate ([\d.]+ ?\w+)", re.IGNORECASE)  # in torch's sentence on any device


class Runner:
    """Carries out runs in this process; those on one data set share what depends on its test split alone."""

    def __init__(self, folder: Path, device: str, listener: Listener, stopped: Callable[[], bool]) -> None:
        self.store, self.device, self.listener, self.stopped = ResultStore(folder), device, listener, stopped
        self._dataset: Dataset | None = None
        self._evaluator: Evaluator | None = None
        self._part: Part | None = None  # which data set these are of

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
                return self._contained(job)
        except Unwritable as error:
            return Ended("unwritable", str(error))

    def _contained(self, job: Job) -> Ended:
        try:
            self._carry_out(job)
        except (KeyboardInterrupt, Unwritable):
            raise
        except (Interrupted, BrokenPipeError) as error:  # the latter: whoever reads what is printed is gone
            return Ended("stopped", str(error))
        except UsageError as error:
            return Ended("refused", str(error))
        except (AssetError, StoreError) as error:  # the machine's fault, not the run's: nothing is held against it
            return Ended("machine", str(error))
        except Exception as error:
            reason = _reason(error)
            self.store.fail(job.run, Failure(reason, traceback.format_exc().splitlines()[-LOG_LINES:]))
            return Ended("failed", reason, sound=isinstance(error, RunError))
        return Ended("done")

    def _carry_out(self, job: Job) -> None:
        run = job.run
        dataset = self._load(run.dataset)
        recipe: Recipe = registry.load("recipes", run.recipe.name)(**run.recipe.args)
        engine = Engine(self.device, getattr(recipe, "precision", "float32"))
        model = build(run, dataset).to(engine.device)
        record = self.store.read(run)
        if record is None:
            self.listener.run_started(run, "training")
            model, trained = self._trained(run, recipe, engine, dataset, model)
            parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            told = {**made(engine.device), "seconds": round(trained.seconds, 1), "parameters": parameters}
            record = Record(run, {}, told, trained.history)
        else:
            model.load_state_dict(engine.load(self._checkpoint(run)))
        self.listener.run_started(run, "measuring")
        if self._evaluator is None:
            self._evaluator = Evaluator(dataset, engine.device)
        missing = self.store.missing(run, job.wanted)
        started = time.monotonic()
        measured = self._evaluator.measure(model, missing, lambda done, total: self._measuring(run, done, total))
        how = {**made(engine.device), "seconds": round(time.monotonic() - started, 1), "metrics": missing}
        record.made["measured"] = [*record.made.get("measured", []), how]
        for protocol, values in measured.values.items():
            record.values.setdefault(protocol, {}).update(values)
        self.store.write_images(run, measured.images)
        self.store.write(record)

    def _load(self, part: Part) -> Dataset:
        if self._dataset is None or self._part != part:
            self._evaluator = None
            self._dataset = registry.load("datasets", part.name)(**part.args)
            self._part = part
        return self._dataset

    def _trained(
        self, run: RunSpec, recipe: Recipe, engine: Engine, dataset: Dataset, model: Autoencoder
    ) -> tuple[Autoencoder, Trained]:
        """The model, trained from its last checkpoint or, where a checkpoint is damaged, once more from its start."""
        folder = self.store.folder(run)
        task = Task(
            model=model,
            dataset=dataset,
            seeds=seeding.seeds(run.seed, run.dataset.name),
            engine=engine,
            folder=folder,
            progress=lambda done, total: self.listener.advanced(run, done, total),
            stopped=self.stopped,
        )
        try:
            return model, recipe.fit(task)
        except Damaged as error:
            for path in (folder / name for name in CHECKPOINTS):  # either is worth nothing without the other
                if path.exists():
                    set_aside(path)
            self.listener.say(f"{error}; set aside as .damaged, so {run.quantizer.name} is trained from its start")
        task.model = build(run, dataset).to(engine.device)
        return task.model, recipe.fit(task)

    def _checkpoint(self, run: RunSpec) -> Path:
        path = self.store.folder(run) / "best.pt"
        if not path.exists():
            raise StoreError(f"{path}: the checkpoint was removed; delete its folder to train the run again")
        return path

    def _measuring(self, run: RunSpec, done: int, total: int) -> None:
        self.listener.advanced(run, done, total)
        if self.stopped():
            raise Interrupted("stopped while measuring")


def _reason(error: Exception) -> str:
    """Why a run failed, in one sentence."""
    if isinstance(error, RunError):
        return str(error)
    asked = ASKED.search(str(error))
    if asked or isinstance(error, MemoryError | torch.OutOfMemoryError):
        amount = f" (asked for {asked[1]} more)" if asked else ""
        return f"out of memory{amount}; run fewer at once with --places, or use a device with more"
    return f"{type(error).__name__}: {error}"


def build(run: RunSpec, dataset: Dataset) -> Autoencoder:
    """The untrained model of ``run``. All quantizers of a seed and data set start from the same backbone."""
    seeds = seeding.seeds(run.seed, run.dataset.name)

    def make(kind: registry.Kind, part: Part, **filled: Any) -> Any:
        torch.manual_seed(seeds(kind))
        return registry.load(kind, part.name)(**filled, **part.args)

    model = Autoencoder(
        make("backbones", run.backbone, channels=dataset.channels, dim=run.quantizer.args["dim"]),
        make("quantizers", run.quantizer),
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster, on CPUs as on GPUs
