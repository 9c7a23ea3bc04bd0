"""``vqbench clean``: delete the checkpoints of finished runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, require_folder, suite_or_default
from vqbench.errors import counted

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete. Without it, files are only listed.")]


def clean(
    suite: shared.Suite = None,
    store: shared.Store = shared.RUNS,
    yes: Yes = False,
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
    """Delete the checkpoints of finished runs; records stay.

    Without checkpoints, no metric can be added to these runs later.
    """
    from vqbench.store.checkpoints import delete_checkpoints, find_checkpoints
    from vqbench.store.results import ResultStore

    require_folder(store, default_too=True)
    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    plan = selection.plan(suite_or_default(suite, "cleaning"), store)
    results = ResultStore(store)
    checkpoints = find_checkpoints(plan.runs(), results)
    for path, size in checkpoints.sizes.items():
        print(f"{path}: {size / 1e6:.1f} MB")
    for path in checkpoints.skipped:
        print(f"{path}: left, as it is a link or lies outside of {results.root}", file=sys.stderr)
    if yes:
        delete_checkpoints(checkpoints, results)
    what = "deleted" if yes else "would be deleted; --yes deletes them"
    print(f"{counted(len(checkpoints.sizes), 'file')}, {checkpoints.megabytes:.1f} MB, {what}", file=sys.stderr)
