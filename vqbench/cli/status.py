"""``vqbench status``: how far each run of a suite is."""

from __future__ import annotations

from dataclasses import asdict, astuple

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, require_folder, suite_or_default
from vqbench.cli.output import print_json


def status(
    suite: shared.Suite = None,
    store: shared.StoreToRead = shared.RUNS,
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
    as_json: shared.Json = False,
) -> None:
    """Show how far each run of a suite is, and what to do next.

    A run is done, running, stopped, failed or not begun.

    Image folders are compared by their times only: the next `vqbench run` finds an image that was rewritten in place.
    """
    from vqbench.reporting.run_states import run_states
    from vqbench.store.results import ResultStore
    from vqbench.system.output import grid

    require_folder(store)
    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    plan = selection.plan(suite_or_default(suite, "showing"), store)
    states = run_states(plan, ResultStore(store))
    if as_json:
        print_json({"suite": plan.suite.name, "runs": [asdict(each) for each in states]})
    else:
        print(grid(["row", "data set", "seed", "key", "state"], [astuple(each) for each in states]))
