"""``vqbench publish``: copy records to the published results."""

from __future__ import annotations

import sys

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, suites_or_default
from vqbench.cli.output import note, require_sound
from vqbench.errors import UsageError, counted


def publish(
    suites: shared.Suites = None,
    store: shared.StoreToRead = shared.RUNS,
    results: shared.Results = shared.RESULTS,
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
    """Copy the records of suites from --store to --results.

    Checkpoints are not copied.
    """
    from vqbench.planning import plan_file
    from vqbench.store import external_rows, publishing, snapshots
    from vqbench.store.results import ResultStore

    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    for plan in [selection.plan(suite, store) for suite in suites_or_default(suites, "publishing")]:
        source, target = ResultStore(store), ResultStore(results)
        external = external_rows.publish(plan.suite.name_in_file, source, target)
        if not external and not any(run in source for run in plan.runs()):
            require_sound(list(source.damage.values()))
            name = plan.suite.name
            raise UsageError(f"{store}: no finished run of {name} to publish; `vqbench run {name}` first")
        published = publishing.publish(plan.runs(), source, target)
        plan_file.save(plan, target)
        for sentence in published.replaced:
            note(sentence)
        limit = f"larger than {snapshots.PUBLISHED // 1000:,} kB, so pages of the published run go without it"
        for path in published.too_large:
            print(f"{path}: {limit}", file=sys.stderr)
        runs = counted(len(plan.runs()), "run")
        print(f"{len(published.runs)} of {runs} of {plan.suite.name} published to {results}", file=sys.stderr)
        if external:
            print(f"{counted(len(external), 'external row')} published to {results}", file=sys.stderr)
        require_sound(list(source.damage.values()))
