"""Load the models of finished runs from their checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from vqbench import registry, spec
from vqbench.backbone import Autoencoder
from vqbench.dataset import Dataset
from vqbench.errors import StoreError, UsageError
from vqbench.evaluation.contact_sheets import grid
from vqbench.evaluation.samples import sample
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.record import Record
from vqbench.store.results import ResultStore
from vqbench.training.engine import Engine
from vqbench.training.latents.generator import Generator
from vqbench.training.model_building import build, require_planned

CHECKPOINT = "best.pt"


@dataclass(frozen=True)
class TrainedModel:
    """The model of a finished run, on its device, and its data set."""

    record: Record
    dataset: Dataset
    model: Autoencoder  # in evaluation mode
    engine: Engine

    @property
    def run(self) -> RunSpec:
        return self.record.run


@dataclass(frozen=True)
class TrainedGenerator:
    """The generator of a finished second stage, ready to sample."""

    run: RunSpec
    generator: Generator
    settings: Mapping[str, float]  # of its sampler


def load_model(store: ResultStore, record: Record, device: str = "auto") -> TrainedModel:
    """Load the model of a finished run of ``store``.

    Raises UsageError for a second stage, a run on features, or a run trained with other versions of its plugins, and
    StoreError for a run without a sound checkpoint.
    """
    run = record.run
    if is_second_stage(run):
        raise UsageError(
            f"{run.key} is a second stage, which has no reconstructions; name its first stage {run.parent}"
        )
    path = _checkpoint(store, run)
    if registry.load("datasets", run.dataset.name).of_features:
        raise UsageError(
            f"{run.key} was fitted to features of {run.dataset.name}, so it has no images; its codebook is in {path}"
        )
    require_versions(run)
    require_planned(run)
    registry.refresh(run.dataset.name, run.dataset.args)
    dataset: Any = registry.create("datasets", run.dataset.name, **run.dataset.args)
    engine = engine_of(run, device)
    model = build(run, dataset).to(engine.device)
    _restore(model, path, engine)
    return TrainedModel(record, dataset, model.eval(), engine)


def is_second_stage(run: RunSpec) -> bool:
    """Return whether ``run`` trained a generator on the codes of another run."""
    return run.parent is not None and bool(registry.load("recipes", run.recipe.name).second_stage)


def engine_of(run: RunSpec, device: str) -> Engine:
    """Return a device at the precision that ``run`` was evaluated at."""
    recipe: Any = registry.create("recipes", run.recipe.name, **run.recipe.args)
    return Engine(device, getattr(recipe, "precision", "float32"))


def load_generator(
    store: ResultStore, run: RunSpec, device: str = "auto", settings: Mapping[str, float] = MappingProxyType({})
) -> TrainedGenerator:
    """Load the generator of a finished second stage of ``store``.

    It includes the first stage, which decodes its samples. ``settings`` of its sampler replace the recipe's own. Raises
    UsageError for a run that is no second stage, or a setting that it is not sampled by, and StoreError where its
    checkpoint, or that of its first stage, was deleted.
    """
    if run.parent is None or not is_second_stage(run):
        raise UsageError(f"{run.key} is a first stage, which generates no images; name a second stage")
    first = store.find(run.parent).run
    paths = [_checkpoint(store, each) for each in (first, run)]
    require_planned(run)
    recipe: Any = registry.create("recipes", run.recipe.name, **run.recipe.args)
    for setting, value in settings.items():
        if not math.isfinite(value):
            raise UsageError(f"--{setting} {value}: not a finite number")
        if setting not in recipe.sampler:
            raise UsageError(f"--{setting}: {run.recipe.name} is not sampled by it, but by {', '.join(recipe.sampler)}")
    registry.refresh(run.dataset.name, run.dataset.args)
    dataset: Any = registry.create("datasets", run.dataset.name, **run.dataset.args)
    engine = engine_of(run, device)
    model = build(run, dataset).to(engine.device)
    _restore(model, paths[0], engine)
    generator = recipe.generator(model, dataset.channels, dataset.size)
    _restore(generator, paths[1], engine)
    return TrainedGenerator(run, generator.eval(), {**recipe.sampler, **settings})


def sample_grid(trained: TrainedGenerator, count: int) -> bytes:
    """Draw the first ``count`` samples as a PNG.

    A sample does not depend on how many are drawn.
    """
    seeds = spec.seeds(trained.run.seed, trained.run.dataset.name)
    return grid(sample(trained.generator, seeds, range(count), trained.settings))


def variant(quantizer: PluginSpec) -> str:
    """Return a quantizer's preset or name, and further arguments changed.

    >>> from vqbench.spec import PluginSpec
    >>> variant(PluginSpec("cvq", 1, {"online": True, "contrastive": False, "beta": 0.5}))
    'cvq_online (beta=0.5)'
    """
    cls = registry.load("quantizers", quantizer.name)
    defaults = {name: default for name, (_, default) in registry.parameters(cls) if default is not Parameter.empty}
    own = {name: value for name, value in quantizer.args.items() if defaults.get(name, value) != value}
    fitting = [
        (preset, args)
        for preset, (plugin, args) in registry.presets("quantizers").items()
        if plugin == quantizer.name and all(quantizer.args.get(name) == value for name, value in args.items())
    ]
    name, given = max(fitting, key=lambda each: len(each[1].keys() & own.keys()), default=(quantizer.name, {}))
    if not given.keys() & own.keys():  # the preset of the defaults
        name, given = quantizer.name, {}
    further = ", ".join(f"{argument}={value}" for argument, value in own.items() if argument not in given)
    return f"{name} ({further})" if further else name


def _checkpoint(store: ResultStore, run: RunSpec) -> Path:
    path = store.folder(run) / CHECKPOINT
    if not path.exists():
        raise StoreError(
            f"{path}: the checkpoint was deleted, or never published; name the store that has it with --store, or "
            "delete the folder and train the run again"
        )
    return path


def _restore(model: nn.Module, path: Path, engine: Engine) -> None:
    weights = engine.load(path)
    with engine.restoring(path):
        model.load_state_dict(weights)


def require_versions(run: RunSpec) -> None:
    """Raise UsageError where a plugin of ``run`` has another version now.

    To such code, the weights mean nothing.
    """
    parts: tuple[tuple[registry.Kind, Any], ...] = (
        ("backbones", run.backbone),
        ("datasets", run.dataset),
        ("quantizers", run.quantizer),
    )
    for kind, part in parts:
        here = registry.load(kind, part.name).VERSION
        if here != part.version:
            raise UsageError(
                f"run {run.key} was trained with version {part.version} of {kind[:-1]} {part.name!r}, "
                f"and this is version {here}; train it again"
            )
