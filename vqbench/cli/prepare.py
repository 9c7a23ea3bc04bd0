"""``vqbench prepare``: fetch and verify what suites need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, suites_or_default
from vqbench.cli.output import note

if TYPE_CHECKING:
    from vqbench.planning.plan import Plan


def prepare(
    suites: shared.Suites = None,
    store: shared.StoreToRead = shared.RUNS,
    offline: shared.Offline = False,
    only: shared.Only = None,
    skip: shared.Skip = None,
    seeds: shared.Seeds = None,
    metrics: shared.Metrics = None,
    sets: shared.Sets = None,
    plugin: shared.RowPlugins = None,
    epochs: shared.Epochs = None,
    batch_size: shared.BatchSize = None,
    subset: shared.Subset = None,
    test_images: shared.TestImages = None,
) -> None:
    """Fetch and verify the data and weights that suites need."""
    from vqbench import assets
    from vqbench.assets.cache import data_folder
    from vqbench.execution import preparation

    if (data := data_folder()) is not None and not data.is_dir():
        note(f"VQBENCH_DATA is {data}, which is no folder, so nothing is taken from it")
    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    with assets.no_downloads(offline):
        names = suites_or_default(suites, "preparing")
        plans = [selection.plan(suite, store, refresh=True) for suite in names]
        preparation.fetch(name for plan in plans for name in preparation.required_assets(plan))
        for plan in plans:
            _prepare(plan)


def _prepare(plan: Plan) -> None:
    """Fetch what one suite needs, and print paths and numbers of images."""
    from vqbench.execution import preparation

    paths = preparation.prepare(plan)
    for name, path in paths.items():
        print(f"{name}: {path}")
    for dataset, images in preparation.open_datasets(plan):
        print(f"{dataset.title}: {images['train']:,} training and {images['test']:,} test images")
        for remark in dataset.notes:
            print(remark)
    if not paths:
        print(f"{plan.suite.name} needs nothing that is not part of the package")
