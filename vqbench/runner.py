"""Carry out a plan: leave out what is stored, train, evaluate, store; one failed run never stops the others."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

import torch

from vqbench import registry, seeding
from vqbench.dataset import Dataset
from vqbench.engine import Engine
from vqbench.errors import AssetError, Interrupted, RunError, StoreError, UsageError
from vqbench.evaluate import Evaluator
from vqbench.model import Autoencoder
from vqbench.plan import Plan
from vqbench.provenance import made
from vqbench.recipe import Recipe, Task
from vqbench.spec import Part, RunSpec
from vqbench.store import Failure, Record, ResultStore

LOG_LINES = 12  # of a failure's traceback, kept with its reason


class Listener(Protocol):
    """Who is told how the work goes on."""

    def run_started(self, run: RunSpec, doing: str) -> None: ...
    def advanced(self, done: int, total: int) -> None: ...
    def run_ended(self, run: RunSpec, outcome: str) -> None: ...
    def say(self, text: str) -> None: ...
    def stopped(self) -> bool: ...


@dataclass
class Outcome:
    """How a suite ended."""

    finished: int = 0  # runs trained or measured now
    failed: list[str] = field(default_factory=list)  # one sentence each


def execute(
    plan: Plan, store: ResultStore, listener: Listener, device: str = "auto", retry_failed: bool = False
) -> Outcome:
    """Do what is missing of ``plan``. Runs that another process holds are waited for at the end.

    Raises Interrupted when the listener says stop; what was done until then is kept and serves the next call.
    """
    outcome = Outcome()
    wanted = plan.wanted()
    todo = [run for run in plan.runs() if store.missing(run, wanted)]
    for _, runs in groupby(todo, key=lambda run: run.dataset):  # a plan goes from data set to data set
        worker = _Worker(plan, store, listener, device, retry_failed, outcome)
        held = [run for run in runs if not worker.attempt(run, wait=False)]
        for run in held:
            listener.say(f"waiting for {_name(run)}, on which another process works")
            worker.attempt(run, wait=True)
    return outcome


class _Worker:
    """Carries out runs on one data set, sharing what depends on its test split alone."""

    def __init__(
        self, plan: Plan, store: ResultStore, listener: Listener, device: str, retry_failed: bool, outcome: Outcome
    ) -> None:
        self.wanted, self.store, self.listener = plan.wanted(), store, listener
        self.device, self.retry_failed, self.outcome = device, retry_failed, outcome
        self.evaluator: Evaluator | None = None
        self.dataset: Dataset | None = None

    def attempt(self, run: RunSpec, wait: bool) -> bool:
        """Do what is missing of ``run``; False if another process holds it. Failures are recorded, not raised."""
        with self.store.lock(run, wait) as held:
            if not held:
                return False
            missing = self.store.missing(run, self.wanted)
            if not missing:
                return True
            failure = self.store.failure(run)
            if failure and not self.retry_failed:
                self._failed(run, f"failed earlier: {failure.reason} (--retry-failed tries again)")
                return True
            try:
                self._carry_out(run, missing)
            except (Interrupted, KeyboardInterrupt, UsageError):
                raise
            except (AssetError, StoreError) as error:  # the machine's fault, not the run's: nothing is held against it
                self._failed(run, str(error))
            except Exception as error:
                reason = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
                self.store.fail(run, Failure(reason, traceback.format_exc().splitlines()[-LOG_LINES:]))
                self._failed(run, reason)
            else:
                self.outcome.finished += 1
        return True

    def _failed(self, run: RunSpec, reason: str) -> None:
        self.outcome.failed.append(f"{_name(run)}: {reason}")
        self.listener.run_ended(run, f"FAILED: {reason}")

    def _carry_out(self, run: RunSpec, missing: dict[str, list[str]]) -> None:
        if self.dataset is None:
            self.dataset = registry.load("datasets", run.dataset.name)(**run.dataset.args)
        recipe: Recipe = registry.load("recipes", run.recipe.name)(**run.recipe.args)
        engine = Engine(self.device, getattr(recipe, "precision", "float32"))
        model = build(run, self.dataset).to(engine.device)
        record = self.store.read(run)
        if record is None:
            self.listener.run_started(run, "training")
            trained = recipe.fit(self._task(run, model, engine))
            parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            told = {**made(engine.device), "seconds": round(trained.seconds, 1), "parameters": parameters}
            record = Record(run, {}, told, trained.history)
        else:
            model.load_state_dict(engine.load(self._checkpoint(run)))
        self.listener.run_started(run, "measuring")
        if self.evaluator is None:
            self.evaluator = Evaluator(self.dataset, engine.device)
        started = time.monotonic()
        measured = self.evaluator.measure(model, missing, self._advanced)
        how = {**made(engine.device), "seconds": round(time.monotonic() - started, 1), "metrics": missing}
        record.made["measured"] = [*record.made.get("measured", []), how]
        for protocol, values in measured.values.items():
            record.values.setdefault(protocol, {}).update(values)
        self.store.write_images(run, measured.images)
        self.store.write(record)
        self.listener.run_ended(run, "done")

    def _task(self, run: RunSpec, model: Autoencoder, engine: Engine) -> Task:
        assert self.dataset is not None
        return Task(
            model=model,
            dataset=self.dataset,
            seeds=seeding.seeds(run.seed, run.dataset.name),
            engine=engine,
            folder=self.store.folder(run),
            progress=self.listener.advanced,
            stopped=self.listener.stopped,
        )

    def _checkpoint(self, run: RunSpec) -> Any:
        path = self.store.folder(run) / "best.pt"
        if not path.exists():
            raise StoreError(f"{path}: the checkpoint was removed; delete its folder to train the run again")
        return path

    def _advanced(self, done: int, total: int) -> None:
        self.listener.advanced(done, total)
        if self.listener.stopped():
            raise Interrupted("stopped while measuring")


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


def _name(run: RunSpec) -> str:
    return f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed} ({run.key})"
