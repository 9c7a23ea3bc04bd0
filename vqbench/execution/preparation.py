"""Fetch what runs need before they start: packages, data sets, weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench import assets, registry
from vqbench.errors import AssetError, UsageError
from vqbench.execution.progress import download_progress
from vqbench.planning.plan import Plan
from vqbench.store.value_name import ValueName

if TYPE_CHECKING:
    from vqbench.dataset import Dataset


def prepare(plan: Plan) -> dict[str, Path]:
    """Fetch and verify every asset of ``plan``; its packages are looked for first.

    Returns the path of each asset by its name. Raises UsageError for a missing package and AssetError for an asset
    that cannot be had.
    """
    require_packages(plan)
    return fetch(required_assets(plan))


def fetch(names: Iterable[str]) -> dict[str, Path]:
    """Fetch and verify assets and return their paths, with progress on stderr.

    Raises AssetError, which names all assets that are missing if the first of them cannot be had.
    """
    paths: dict[str, Path] = {}
    left = list(dict.fromkeys(names))
    for position, name in enumerate(left):
        try:
            with download_progress(name) as progress:
                paths[name] = assets.fetch(name, progress=progress)
        except AssetError as error:
            missing = [other for other in left[position + 1 :] if assets.state(other) == "missing"]
            if not missing:
                raise
            raise AssetError(f"{', '.join([name, *missing])} are missing; {error}") from error
    return paths


def require_packages(plan: Plan) -> None:
    """Raise UsageError if a recipe or quantizer needs a package that is missing."""
    runs = plan.runs()
    for name in dict.fromkeys(run.recipe.name for run in runs):
        if sentence := registry.lacks("recipes", name):
            raise UsageError(sentence)
    for name in dict.fromkeys(run.quantizer.name for run in runs):
        if sentence := registry.lacks("quantizers", name):
            raise UsageError(sentence)


def required_assets(plan: Plan) -> list[str]:
    """List the assets that training and evaluating ``plan`` needs, sorted by name."""
    names: set[str] = set()
    for run in plan.runs():
        names.update(registry.load("datasets", run.dataset.name).assets)
    for metric in plan.metrics:
        cls: Any = registry.load("metrics", metric)
        with registry.contained("metrics", metric):
            for name in plan.protocols():
                names.update(cls.assets(ValueName.parse(name).measuring))
    return sorted(names)


def open_datasets(plan: Plan) -> Iterator[tuple[Dataset, dict[str, int]]]:
    """Open every data set of ``plan``; yield it with its number of images per split."""
    for part in {run.dataset.name: run.dataset for run in plan.runs()}.values():
        dataset: Any = registry.create("datasets", part.name, **part.args)
        with registry.contained("datasets", part.name):
            counts = {split: len(dataset.pixels(split)) for split in ("train", "test")}
        yield dataset, counts
