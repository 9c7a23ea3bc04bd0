"""Describe above a table how its rows were trained and measured."""

from __future__ import annotations

from typing import Any

from vqbench.errors import counted
from vqbench.planning.plan import Plan
from vqbench.protocol import TRAIN
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.spec import RunSpec
from vqbench.store.results import ResultStore
from vqbench.system.provenance import origins_of

SUMMARIZED = ("epochs", "batch_size", "learning_rate")  # settings that the summary of a training has in any case


def caption(stored: StoredRuns, protocol: str) -> list[str]:
    """Describe how the values under ``protocol`` were made, by plan and records."""
    plan, suite = stored.plan, stored.plan.suite
    lines = []
    if suite.about:
        lines.append(suite.about)
    if suite.reduced or suite.test_images:
        less = [f"{name} {value}" for name, value in suite.reduced.items()]
        less += [_tested(plan, suite.test_images)] if suite.test_images else []
        lines.append(f"Reduced: {', '.join(less)}. Not comparable with full runs.")
    if suite.left_out:
        lines.append(f"Columns left out, since their metric is not measured: {', '.join(suite.left_out)}.")
    lines.append(
        f"Trained under {_training(plan)}. Protocol: {protocol}. {counted(len(suite.seeds), 'seed').capitalize()}."
    )
    if second := plan.entries[0].second:
        lines.append(
            f"Second stage on each: {second.recipe.name} ({plan.length(second).about}); "
            f"{plan.sampling}; seconds are the training time of both stages."
        )
    if records := [each.record for each in stored if each.record]:
        machines = dict.fromkeys(str(origin) for record in records for origin in origins_of(record.made))
        versions = dict.fromkeys(record.made["versions"]["torch"] for record in records)
        lines.append(
            f"{counted(len(records), 'record')} of {len(stored)} ({_sources(stored)}); "
            f"{' and '.join(machines)}; torch {' and '.join(versions)}."
        )
    return lines


def _tested(plan: Plan, most: int) -> str:
    """Name the test images of a reduced copy, at most ``most`` of each data set."""
    counts = {info.title: info.test for info in plan.datasets.values()}
    fewer = [f"{count:,} of {title}" for title, count in counts.items() if count < most]
    if not fewer:
        return f"the first {most:,} test images"
    if len(fewer) < len(counts):
        return f"the first {most:,} test images, or all there are ({', '.join(fewer)})"
    return f"all {min(counts.values()):,} test images" if len(counts) == 1 else f"all test images ({', '.join(fewer)})"


def _training(plan: Plan) -> str:
    """Describe how the rows were trained.

    Where they differ, the table's groups are named if each was trained in one way; else the rows that were not trained
    as most.
    """
    suite = plan.suite
    sources = [row.source for row in suite.rows()]  # of each row, its position in the suite as written
    rows: dict[str, list[str]] = {}
    groups: dict[Any, set[str]] = {}
    for entry in plan.entries:
        recipe = suite.quantizers[sources[entry.row]].train or suite.train
        training = f"{recipe.name} ({', '.join([plan.length(entry.run).about, *_changed(recipe.name, entry.run)])})"
        groups.setdefault(entry.group, set()).add(training)
        if entry.label not in rows.setdefault(training, []):
            rows[training].append(entry.label)
    if len(rows) > 1 and all(len(trainings) == 1 for trainings in groups.values()):
        named = {each: [suite.table.group_text(key) for key, (own,) in groups.items() if own == each] for each in rows}
        return "; ".join(f"{each}: {' and '.join(keys)}" for each, keys in named.items())
    most = max(map(len, rows.values()))
    usual = [training for training, labels in rows.items() if len(labels) == most]
    usual = usual if len(usual) == 1 else []  # where no training is that of most, the rows of each are named
    return "; ".join(usual + [f"{each}: {_listed(labels)}" for each, labels in rows.items() if each not in usual])


def _listed(labels: list[str]) -> str:
    """List the labels of rows, those with a comma in quotation marks."""
    return ", ".join(f'"{label}"' if "," in label else label for label in labels)


def _changed(protocol: str, run: RunSpec) -> list[str]:
    """Name a run's settings that are not those of its training protocol.

    Those that the summary of a training states are left out.
    """
    settings = TRAIN[protocol].args() if protocol in TRAIN else {}
    args = run.recipe.args
    return [f"{name} {args[name]}" for name in settings if name not in SUMMARIZED and args[name] != settings[name]]


def _sources(stored: StoredRuns) -> str:
    """Count the records from each store; of stores after the first, name their rows."""
    rows: dict[ResultStore, list[str]] = {}
    counts: dict[ResultStore, set[str]] = {}
    for entry in stored.plan.entries:
        for run in entry.stages():
            if store := stored[run].store:
                rows.setdefault(store, []).append(entry.label)
                counts.setdefault(store, set()).add(run.key)
    ordered = [store for store in stored.stores if store in counts]
    parts = [f"{len(counts[store])} from {store.name}/" for store in ordered]
    for number, store in enumerate(ordered[1:], 1):
        parts[number] += f": {', '.join(dict.fromkeys(rows[store]))}"
    return "; ".join(parts)
