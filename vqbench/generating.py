"""``vqbench sample``: pictures of a trained generator, into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqbench.errors import StoreError, UsageError
from vqbench.store import ResultStore, write_atomically


def write(folder: Path, name: str, output: Path, count: int, steps: int, eta: float, device: str) -> None:
    """Write a grid of the first ``count`` samples of the generator ``name`` to ``output``, a PNG.

    They do not depend on how many are asked for. Raises UsageError for a run that is no generator, and StoreError where
    its checkpoint, or that of its first stage, is gone.
    """
    from vqbench import registry, seeding
    from vqbench.building import build
    from vqbench.engine import Engine
    from vqbench.generation import grid, sample
    from vqbench.recipe import SecondStage

    store = ResultStore(folder)
    run = store.find(name).run
    recipe: Any = registry.load("recipes", run.recipe.name)(**run.recipe.args)
    if run.parent is None or not isinstance(recipe, SecondStage):
        raise UsageError(f"{name!r} is an autoencoder, which makes no pictures of its own; name a second stage")
    first = store.find(run.parent).run
    for path in (store.folder(each) / "best.pt" for each in (first, run)):
        if not path.exists():
            raise StoreError(f"{path}: the checkpoint was removed; delete its folder and train the run again")
    dataset: Any = registry.load("datasets", run.dataset.name)(**run.dataset.args)
    engine = Engine(device)
    model = build(run, dataset).to(engine.device)
    model.load_state_dict(engine.load(store.folder(first) / "best.pt"))
    generator = recipe.generator(model, dataset.channels, dataset.size)
    generator.load_state_dict(engine.load(store.folder(run) / "best.pt"))
    pictures = sample(generator.eval(), seeding.seeds(run.seed, run.dataset.name), range(count), steps, eta)
    write_atomically(output, grid(pictures))
    print(output)
