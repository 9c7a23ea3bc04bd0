"""``vqbench sample``: images of a trained generator, in one file. Light until it is asked for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vqbench.cli.options import add_plugins
from vqbench.errors import StoreError, UsageError
from vqbench.store.results import ResultStore
from vqbench.system.paths import path_of
from vqbench.system.writing import write_atomically


def sample(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A second stage: its key, the beginning of it, or its folder's name.")
    ],
    store: Annotated[
        Path, typer.Option("--store", metavar="FOLDER", parser=path_of, help="Where runs are read.")
    ] = Path("runs"),
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=10_000, help="How many images.")] = 64,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", parser=path_of, help="A PNG.")] = Path(
        "samples.png"
    ),
    steps: Annotated[int | None, typer.Option(min=1, max=1000, help="Of a diffusion: steps of DDIM.")] = None,
    eta: Annotated[float | None, typer.Option(min=0, max=1, help="Of a diffusion: noise of each step.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.01, max=10, help="Of an autoregressive prior.")] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", parser=path_of, help="Offer the plugin of a .py file.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Make images with a trained generator, from the same noise for all runs of a seed and data set."""
    add_plugins(plugin)
    settings = {"steps": steps, "eta": eta, "temperature": temperature}
    told = {name: value for name, value in settings.items() if value is not None}
    write_atomically(output, grid(store, run, count, told, device))
    print(output)


def grid(folder: Path, name: str, count: int, settings: Mapping[str, float], device: str) -> bytes:
    """A PNG of the first ``count`` samples of the generator ``name``; they do not depend on how many are asked for.

    Raises UsageError for a run that is no generator, or not sampled by one of ``settings``, and StoreError where its
    checkpoint, or that of its first stage, is gone.
    """
    from vqbench import registry
    from vqbench.evaluation import samples as generation
    from vqbench.evaluation.contact_sheets import grid as png_grid
    from vqbench.execution.model_building import build, require_planned
    from vqbench.training import seeding
    from vqbench.training.engine import Engine

    store = ResultStore(folder)
    run = store.find(name).run
    if run.parent is None:
        raise UsageError(f"{name!r} is an autoencoder, which makes no images of its own; name a second stage")
    first = store.find(run.parent).run
    for path in (store.folder(each) / "best.pt" for each in (first, run)):
        if not path.exists():
            raise StoreError(f"{path}: the checkpoint was removed; delete its folder and train the run again")
    require_planned(run)
    recipe: Any = registry.create("recipes", run.recipe.name, **run.recipe.args)
    for setting, value in settings.items():
        if not math.isfinite(value):
            raise UsageError(f"--{setting} {value}: not a finite number")
        if setting not in recipe.sampler:
            raise UsageError(f"--{setting}: {run.recipe.name} is not sampled by it, but by {', '.join(recipe.sampler)}")
    registry.refresh(run.dataset.name, run.dataset.args)
    dataset: Any = registry.create("datasets", run.dataset.name, **run.dataset.args)
    engine = Engine(device, getattr(recipe, "precision", "float32"))
    model = build(run, dataset).to(engine.device)
    _restore(model, store.folder(first) / "best.pt", engine)
    generator = recipe.generator(model, dataset.channels, dataset.size)
    _restore(generator, store.folder(run) / "best.pt", engine)
    seeds = seeding.seeds(run.seed, run.dataset.name)
    return png_grid(generation.sample(generator.eval(), seeds, range(count), {**recipe.sampler, **settings}))


def _restore(model: Any, path: Path, engine: Any) -> None:
    weights = engine.load(path)
    with engine.restoring(path):
        model.load_state_dict(weights)
