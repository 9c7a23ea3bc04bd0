"""Compare the values of two states of the results.

Runs match if their requests are equal: the same data set, quantizer, backbone and recipe with the same arguments, on
the same first stage if any, whatever the versions of their code. Values are compared over the seeds that the same
machines trained in both states; a difference between machines is no change of the code. A change is beyond noise if
:func:`vqbench.reporting.statistics.paired_test` over images and seeds is significant after Holm's correction over all
comparisons. Where other machines trained all seeds, values are shown over all common seeds and nothing is tested.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.reporting import statistics
from vqbench.reporting.changes.names import short_names
from vqbench.reporting.changes.states import state
from vqbench.reporting.other_settings import settings_of
from vqbench.spec import PARTS, RunSpec
from vqbench.store.external_record import ExternalRecord
from vqbench.store.external_rows import external_records
from vqbench.store.record import Record
from vqbench.store.results import ResultStore
from vqbench.system.provenance import origins_of, same_origin

LEVEL = 0.05


@dataclass
class Change:
    """One metric of one kind of run under one protocol."""

    what: str
    protocol: str
    metric: str
    seeds: list[int]
    before: float
    after: float
    verdict: str = ""
    test: statistics.PairedTest | None = None  # of after − before
    adjusted: float | None = None
    images: int = 0
    elsewhere: bool = False  # no seed was trained by the same machines in both


@dataclass(frozen=True)
class Difference:
    """What changed between two states of the results, and what is new or gone."""

    before: str
    after: str
    changes: list[Change]
    gone: list[str]
    added: list[str]
    damage: list[str]  # one sentence per file that could not be read
    suites: dict[str, list[str]]  # state -> suites of its runs, with their settings


def diff(a: str, b: str, results: Path) -> Difference:
    """Compare two states: results folders, commits or dates (YYYY-MM-DD).

    Raises UsageError for anything else.
    """
    with state(a, results) as before, state(b, results) as after:
        old, new = _kinds(before), _kinds(after)
        names = short_names({kind: next(iter(seeds.values())).run for kind, seeds in {**old, **new}.items()})
        common = [kind for kind in old if kind in new]
        changes = [change for kind in common for change in _changes(names[kind], before, after, old[kind], new[kind])]
        rows, others = _external(before), _external(after)
        changes += [change for name in rows if name in others for change in _row_changes(rows[name], others[name])]
        suites = {name: settings_of(store) for name, store in ((a, before), (b, after))}
        damage = [*before.damage.values(), *after.damage.values()]
    tested = [change for change in changes if change.test]
    corrected = statistics.holm([change.test.p_value for change in tested if change.test])
    for change, p_value in zip(tested, corrected, strict=True):
        change.adjusted = p_value
        change.verdict = _verdict(change)
    gone = [names[kind] for kind in old if kind not in new]
    added = [names[kind] for kind in new if kind not in old]
    gone += [name for name in rows if name not in others]
    added += [name for name in others if name not in rows]
    return Difference(a, b, changes, gone, added, damage, suites)


Kind = str
Seeds = dict[int, Record]


def _kinds(store: ResultStore) -> dict[Kind, Seeds]:
    """Group the records of a store by request, then by seed; a later version wins."""
    kinds: dict[Kind, Seeds] = {}
    records = sorted(store.records(), key=lambda record: record.made.get("date", ""))
    runs = {record.run.key: record.run for record in records}
    for record in records:
        kinds.setdefault(json.dumps(_request(record.run, runs), sort_keys=True), {})[record.run.seed] = record
    return kinds


def _request(run: RunSpec, runs: Mapping[str, RunSpec]) -> dict[str, Any]:
    """Return the parts of a run with their arguments, and those of what it builds on."""
    parts: dict[str, Any] = {name: [(part := getattr(run, name)).name, dict(part.args)] for name in PARTS}
    if run.parent is not None:
        parts["parent"] = _request(runs[run.parent], runs) if run.parent in runs else run.parent
    return parts


def _changes(name: str, before: ResultStore, after: ResultStore, old: Seeds, new: Seeds) -> Iterator[Change]:
    """Compare every metric that both states have of one kind of run."""
    seeds = sorted(seed for seed in old if seed in new)
    names = {(p, m): None for seed in seeds for p, metrics in old[seed].values.items() for m in metrics}
    for protocol, metric in names:
        values = {s: (_value(old[s], protocol, metric), _value(new[s], protocol, metric)) for s in seeds}
        known = {s: (x, y) for s, (x, y) in values.items() if x is not None and y is not None}
        if not known:
            continue
        alike = {s: pair for s, pair in known.items() if same_origin(*(origins_of(e[s].made) for e in (old, new)))}
        shown = alike or known
        x, y = (statistics.mean([pair[i] for pair in shown.values()]) for i in (0, 1))
        change = Change(name, protocol, metric, list(shown), x, y, elsewhere=not alike)
        if all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in shown.values()):
            change.verdict = "equal"
        else:
            pairs = [(before, old[s].run, after, new[s].run) for s in alike]
            change.test = _tested(pairs, alike, f"{protocol}/{metric}") if alike else None
            change.images = change.test.images if change.test and change.test.images > 1 else 0
            why = "one seed and no values per image" if alike else "trained on other machines"
            change.verdict = "" if change.test else f"differs; {why}: no claim"
        yield change


def _external(store: ResultStore) -> dict[str, ExternalRecord]:
    """Return the external rows of a store, by what a reader calls them."""
    return {
        f"{each.dataset['name']}: external row {each.label!r} of {each.suite}, {each.images:,} images": each
        for each in external_records(store)
    }


def _row_changes(old: ExternalRecord, new: ExternalRecord) -> Iterator[Change]:
    """Compare every value that both states have of one external row.

    Nothing is tested: a row of other reconstructions is another model, and of the same ones it has the same values.
    """
    why = "the same images, measured otherwise" if old.key == new.key else "other reconstructions or codes"
    for protocol in (name for name in old.values if name in new.values):
        for metric in (name for name in old.values[protocol] if name in new.values[protocol]):
            x, y = old.values[protocol][metric].value, new.values[protocol][metric].value
            if x is not None and y is not None:
                what = f"{new.dataset['name']}: external row {new.label!r} of {new.suite}"
                yield Change(what, protocol, metric, [], x, y, "equal" if x == y else f"differs; {why}")


def _value(record: Record, protocol: str, metric: str) -> float | None:
    value = record.values.get(protocol, {}).get(metric)
    return value.value if value else None


def _tested(pairs: Any, known: dict[int, tuple[float, float]], name: str) -> statistics.PairedTest | None:
    """Test after against before, by image if both have the same images, else by seed."""
    x = [old_store.images(old).get(name) for old_store, old, _, _ in pairs]
    y = [new_store.images(new).get(name) for _, _, new_store, new in pairs]
    shapes = {None if each is None else each.shape for each in [*x, *y]}
    if len(shapes) == 1 and None not in shapes:
        a, b = np.stack(x).astype(np.float64), np.stack(y).astype(np.float64)
    else:
        a, b = (np.array([[pair[i]] for pair in known.values()], dtype=np.float64) for i in (0, 1))
    if a.size < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    return statistics.paired_test(b, a)


def _verdict(change: Change) -> str:
    assert change.test is not None
    assert change.adjusted is not None
    beyond = change.adjusted < LEVEL
    if change.test.seeds < 2:
        return f"{'differs' if beyond else 'within noise'} on these images; one seed: no claim about training"
    return "changed" if beyond else "within noise"
