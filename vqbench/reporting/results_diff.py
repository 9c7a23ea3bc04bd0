"""Show what changed between two states of the results.

A state is a folder, or a commit or date in the history of one.

Runs match if their requests are equal: the same data set, quantizer, backbone and recipe with the same arguments,
whatever the versions of their code. Values are compared over the seeds that both states have. A change is beyond noise
if :func:`vqbench.reporting.statistics.paired_test` over images and seeds is significant after Holm's correction over
all comparisons. Only seeds that the same machines trained in both states are tested, since a difference between
machines is no change of the code.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.errors import UsageError, counted
from vqbench.reporting import statistics
from vqbench.reporting.other_settings import settings_of
from vqbench.spec import PARTS, RunSpec
from vqbench.store.external_record import ExternalRecord
from vqbench.store.external_rows import external_records
from vqbench.store.record import Record
from vqbench.store.results import ResultStore
from vqbench.system.output import grid
from vqbench.system.paths import path_of
from vqbench.system.provenance import origins_of, same_origin

GIT_SECONDS = 60.0
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
        common = [kind for kind in old if kind in new]
        changes = [change for kind in common for change in _changes(before, after, old[kind], new[kind])]
        rows, others = _external(before), _external(after)
        changes += [change for name in rows if name in others for change in _row_changes(rows[name], others[name])]
        suites = {name: settings_of(store) for name, store in ((a, before), (b, after))}
        damage = [*before.damage.values(), *after.damage.values()]
    tested = [change for change in changes if change.test]
    corrected = statistics.holm([change.test.p_value for change in tested if change.test])
    for change, p_value in zip(tested, corrected, strict=True):
        change.adjusted = p_value
        change.verdict = _verdict(change)
    gone = [_name(next(iter(old[kind].values())).run) for kind in old if kind not in new]
    added = [_name(next(iter(new[kind].values())).run) for kind in new if kind not in old]
    gone += [name for name in rows if name not in others]
    added += [name for name in others if name not in rows]
    return Difference(a, b, changes, gone, added, damage, suites)


@contextmanager
def state(name: str, results: Path) -> Iterator[ResultStore]:
    """Yield the store of a folder, or a temporary copy of that of a commit or a date."""
    if path_of(name).is_dir():
        yield ResultStore(path_of(name))
        return
    root = Path(
        _git(
            Path.cwd(),
            "rev-parse",
            "--show-toplevel",
            wrong=f"{name}: no folder, and commits and dates need a git checkout, which this is not; name two folders",
        )
    )
    commit = name
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", name):
        commit = _git(root, "rev-list", "-1", f"--before={name}T23:59:59", "HEAD")
        if not commit:
            raise UsageError(f"{name}: this repository has no commit of that day or earlier")
    elif name.startswith("-"):
        raise UsageError(f"{name}: neither a folder nor a commit nor a date")
    wrong = f"{name}: neither a folder, nor a commit of this repository, nor a date such as 2026-01-31"
    commit = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", wrong=wrong)
    inside = results.resolve()
    if not inside.is_relative_to(root.resolve()):
        raise UsageError(f"{results}: not in this repository, so it has no history; name two folders instead")
    path = inside.relative_to(root.resolve()).as_posix()
    packed = _called(root, "archive", commit, "--", path)
    if packed.returncode:
        raise UsageError(f"{name}: that commit has no {path}/")
    with tempfile.TemporaryDirectory(prefix="vqbench-") as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield ResultStore(Path(folder) / path)


def _git(root: Path, *words: str, wrong: str = "") -> str:
    completed = _called(root, *words, wrong=wrong)
    if completed.returncode and wrong:
        raise UsageError(wrong)
    return os.fsdecode(completed.stdout).strip()


def _called(root: Path, *words: str, wrong: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run git in ``root``.

    Raises UsageError where git is missing or takes longer than GIT_SECONDS.
    """
    try:
        return subprocess.run(
            ["git", "-C", str(root), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=GIT_SECONDS,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # ValueError: a NUL in an argument
        raise UsageError(f"{wrong or 'the past of a folder'}; git cannot be called ({error})") from error


Kind = str
Seeds = dict[int, Record]


def _kinds(store: ResultStore) -> dict[Kind, Seeds]:
    """Group the records of a store by request, then by seed; a later version wins."""
    kinds: dict[Kind, Seeds] = {}
    for record in sorted(store.records(), key=lambda record: record.made.get("date", "")):
        request = {name: [(part := getattr(record.run, name)).name, dict(part.args)] for name in PARTS}
        kinds.setdefault(json.dumps(request, sort_keys=True), {})[record.run.seed] = record
    return kinds


def _name(run: RunSpec) -> str:
    """Name a run by what distinguishes it: data set, quantizer and its arguments."""
    args = ", ".join(f"{k}={v}" for k, v in run.quantizer.args.items())
    return f"{run.dataset.name}: {run.quantizer.name}({args})"


def _changes(before: ResultStore, after: ResultStore, old: Seeds, new: Seeds) -> Iterator[Change]:
    """Compare every metric that both states have of one kind of run."""
    seeds = sorted(seed for seed in old if seed in new)
    first = next(iter(new.values())).run
    names = {(p, m): None for seed in seeds for p, metrics in old[seed].values.items() for m in metrics}
    for protocol, metric in names:
        values = {s: (_value(old[s], protocol, metric), _value(new[s], protocol, metric)) for s in seeds}
        known = {s: (x, y) for s, (x, y) in values.items() if x is not None and y is not None}
        if not known:
            continue
        x, y = (statistics.mean([pair[i] for pair in known.values()]) for i in (0, 1))
        change = Change(_name(first), protocol, metric, list(known), x, y)
        if all(a == b for a, b in known.values()):
            change.verdict = "equal"
        else:
            known = {s: pair for s, pair in known.items() if same_origin(*(origins_of(e[s].made) for e in (old, new)))}
            pairs = [(before, old[s].run, after, new[s].run) for s in known]
            change.test = _tested(pairs, known, f"{protocol}/{metric}") if known else None
            change.images = change.test.images if change.test and change.test.images > 1 else 0
            why = "one seed and no values per image" if known else "trained on other machines"
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


def text(difference: Difference) -> str:
    """Write the changes as a plain table, then their number and what is new or gone."""
    changes, gone, added = difference.changes, difference.gone, difference.added
    different = [change for change in changes if change.verdict != "equal"]
    rows = []
    for each in different:
        test = each.test
        interval = f"{test.low:+.3g} … {test.high:+.3g}" if test else "–"
        p_value = "–" if each.adjusted is None else f"{each.adjusted:.3g}"
        basis = counted(len(each.seeds), "seed") if each.seeds else "external"
        basis += f", {each.images:,} images" if each.images else ""
        numbers = [f"{each.before:.6g}", f"{each.after:.6g}", f"{each.after - each.before:+.3g}", interval, p_value]
        rows.append([each.what, each.protocol, each.metric, *numbers, basis, each.verdict])
    head = ["run", "protocol", "metric", "before", "after", "difference", "95 %", "p, Holm", "basis", "verdict"]
    beyond = sum(change.verdict == "changed" for change in changes)
    lines = [grid(head, rows)] if rows else []
    lines.append(
        f"{difference.before} to {difference.after}: {len(changes)} values in both, {len(changes) - len(different)} "
        f"equal, {beyond} changed beyond noise; {len(added)} kinds of run new, {len(gone)} gone"
    )
    if not changes:
        lines += [f"{state} has {'; '.join(suites) or 'no suite'}" for state, suites in difference.suites.items()]
    lines += [f"new: {name}" for name in added] + [f"gone: {name}" for name in gone]
    return "\n".join(lines)


def data(difference: Difference) -> dict[str, Any]:
    """Convert the changes to JSON data, at full precision."""

    def plain(change: Change) -> dict[str, Any]:
        facts = {key: getattr(change, key) for key in ("what", "protocol", "metric", "seeds", "images")}
        numbers = {"before": change.before, "after": change.after}
        if change.test:
            numbers |= {"low": change.test.low, "high": change.test.high, "p_value": change.test.p_value}
        return {**facts, **numbers, "p_value_holm": change.adjusted, "verdict": change.verdict}

    changes = [plain(change) for change in difference.changes]
    names = {"new": difference.added, "gone": difference.gone, "suites": difference.suites}
    return {"a": difference.before, "b": difference.after, "changes": changes, **names}
