"""Find the settings under which a store has runs of a suite.

A run is named by all that decides its weights, so a suite with another folder of images, or with fewer epochs, has
other runs, and its table shows none of those that were made before. A store keeps what each suite resolved to; the
difference from the suite's file, as options of the command line, shows these runs again. Rows, metrics and plugin files
of the command that found none are repeated, so that the next command shows the same rows and columns.
"""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqbench import registry
from vqbench.errors import counted
from vqbench.planning import plan_file
from vqbench.planning.overrides import Override
from vqbench.planning.plan import Plan
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import known_suites, load_suite
from vqbench.planning.suite_parts import QuantizerRow
from vqbench.store.results import ResultStore

# Keys of a suite that decide which runs it has; rows and seeds are compared one by one.
DECISIVE = ("train", "datasets", "data", "backbone", "codebook", "generate")
MOST = 3  # settings that are listed


@dataclass(frozen=True)
class OtherSettings:
    """Other settings of a suite, under which a store has runs of it."""

    options: tuple[str, ...]  # words of the command line
    finished: int  # of its runs, those that have a record
    runs: int
    same: bool = False  # the settings are not other ones: the runs are of other versions of plugins or of other images

    def command(self, name: str, suite: str, store: str = "") -> str:
        """Return the command ``name`` of vqbench that shows these runs of ``suite``."""
        return shlex.join(["vqbench", name, suite, *(["--store", store] if store else []), *self.options])


def other_settings(suite: str, plan: Plan, store: ResultStore) -> list[OtherSettings]:
    """List the settings of those runs of ``suite`` that ``plan`` does not have.

    Of all that ``store`` has. Those with most finished runs come first, and nothing is listed twice.
    """
    base = load_suite(suite)
    own = {run.key for run in plan.runs()}
    found: dict[tuple[str, ...], OtherSettings] = {}
    for stored in plan_file.stored(store):
        if stored.suite.name_in_file != base.name:
            continue
        part = _shared_rows(plan, stored)
        if not any(store.folder(run).exists() for run in part.runs()):
            part = stored
        runs = part.runs()
        finished = sum(run in store for run in runs)
        if any(run.key not in own and store.folder(run).exists() for run in runs):
            added = [row for row in _added_rows(part) if row not in base.quantizers]
            options = (*_options(base, part.suite, added), *_selection(base, plan, part, added))
            same = _same_settings(plan.suite, part.suite)
            if options not in found or found[options].finished < finished:
                found[options] = OtherSettings(options, finished, len(runs), same)
    return sorted(found.values(), key=lambda settings: -settings.finished)


def settings_of(store: ResultStore) -> list[str]:
    """Name every suite that ``store`` has runs of, with their options.

    Options are only known of suites that are found by their name.
    """
    named = []
    for stored in plan_file.stored(store):
        name = stored.suite.name_in_file
        if any(run in store for run in stored.runs()):
            words = [name]
            if name in known_suites():
                base = load_suite(name)
                words += [*_options(base, stored.suite), *_only(stored.suite.quantizers, len(base.quantizers))]
            named.append(shlex.join(words))
    return list(dict.fromkeys(named))


def other_suites(plan: Plan, store: ResultStore) -> list[str]:
    """Name the suites that ``store`` has runs of if it has none of ``plan``.

    They are named as a command names them: a suite that has no name of its own is the file of its name in the current
    folder, if there is one.
    """
    if any(store.folder(run).exists() for run in plan.runs()):
        return []
    named = []
    for stored in plan_file.stored(store):
        name = stored.suite.name_in_file
        if name != plan.suite.name_in_file and any(store.folder(run).exists() for run in stored.runs()):
            is_file = name not in known_suites() and Path(f"{name}.yaml").is_file()
            named.append(f"{name}.yaml" if is_file else name)
    return list(dict.fromkeys(named))


def hint(command: str, suite: str, plan: Plan, stores: Sequence[ResultStore], default: str = "runs") -> str:
    """Name other settings below what ``command`` shows of a ``plan`` without runs.

    Empty if the first of ``stores`` has a run of it, or no run of the suite under other settings. The others count if
    no store before them has a run of the plan.
    """
    runs = plan.runs()
    for store in stores:
        if any(store.folder(run).exists() for run in runs):
            return ""
        if others := other_settings(suite, plan, store):
            root = str(store.root)
            named = "" if store is not stores[0] or root == default else root
            return sentence(command, suite, root, others, named)
    return ""


def sentence(command: str, suite: str, root: str, others: Sequence[OtherSettings], store: str = "") -> str:
    """Name the settings of the runs in ``root``, with one command per line."""
    changed = [each for each in others if not each.same]
    lines = [f"{root} has runs of {suite} under other settings:"] if changed else []
    for each in changed[:MOST]:
        finished = f"{each.finished:,} of {counted(each.runs, 'run')} finished"
        lines.append(f"  {each.command(command, suite, store)}  # {finished}")
    if len(changed) > MOST:
        lines.append(f"  and under {len(changed) - MOST} more, in {root}/suites")
    lines += [
        f"{root} has {counted(each.runs, 'run')} of {suite} from other versions of its plugins or of its images; "
        f"vqbench run {suite} makes new ones."
        for each in others
        if each.same
    ]
    return "\n".join(lines)


def _options(base: SuiteSpec, stored: SuiteSpec, added: Sequence[QuantizerRow] = ()) -> Iterator[str]:
    """Yield the options that change ``base`` so that it has the runs of ``stored``.

    Rows that are ``added`` are left out.
    """
    before, after = (each.model_dump(mode="json", exclude_unset=True) for each in (base, stored))
    for key in DECISIVE:
        if key in after and getattr(base, key) != getattr(stored, key):
            for path, value in _changes(before.get(key), after[key], key):
                yield from ("--set", str(Override(path, value)))
    rows = before["quantizers"]
    wanted = [row for row, each in zip(after["quantizers"], stored.quantizers, strict=True) if each not in added]
    if not all(row in rows for row in wanted):
        for path, value in _changes(rows, wanted, "quantizers"):
            yield from ("--set", str(Override(path, value)))
    if list(stored.seeds) != list(base.seeds):
        yield from ("--seeds", ",".join(map(str, stored.seeds)))
    for argument, value in stored.reduced.items():
        yield from (f"--{argument.replace('_', '-')}", str(value))
    if stored.test_images:
        yield from ("--test-images", str(stored.test_images))


def _same_settings(ours: SuiteSpec, theirs: SuiteSpec) -> bool:
    """Whether rows of both suites have the same runs with equal plugins and images."""
    return (
        all(getattr(ours, key) == getattr(theirs, key) for key in (*DECISIVE, "reduced"))
        and all(row in ours.quantizers for row in theirs.quantizers)
        and bool(set(ours.seeds) & set(theirs.seeds))
    )


# Rows, metrics and plugin files ---------------------------------------------------------------------------------------


def _shared_rows(plan: Plan, stored: Plan) -> Plan:
    """Return ``stored`` with those rows alone that ``plan`` also has.

    Their arguments may differ.
    """
    wanted = {(row.quantizer, row.label) for row in plan.suite.quantizers}
    sources = [i for i, row in enumerate(stored.suite.quantizers) if (row.quantizer, row.label) in wanted]
    source_of = [row.source for row in stored.suite.rows()]
    suite = stored.suite.model_copy(update={"quantizers": [stored.suite.quantizers[i] for i in sources]})
    return replace(stored, suite=suite, entries=[each for each in stored.entries if source_of[each.row] in sources])


def _selection(base: SuiteSpec, plan: Plan, stored: Plan, added: Sequence[QuantizerRow]) -> Iterator[str]:
    """Yield the options that repeat plugins, metrics and rows.

    Plugins and metrics are those of both plans, rows those of ``stored``.
    """
    rows = stored.suite.quantizers
    wanted = dict.fromkeys([*stored.suite.metrics, *plan.suite.metrics])
    metrics = [name for name in wanted if name not in base.metrics and name in registry.names("metrics")]
    used = {*metrics, *(row.quantizer for row in added)}
    used |= {key.partition("/")[2] for each in (plan, stored) for key in each.inputs.get("plugins", {})}
    files = [path for path in registry.files() if path.stem in used]
    loaded = registry.names("quantizers")
    files += [Path(f"{row.quantizer}.py") for row in added if row.quantizer not in loaded]
    for path in files:
        yield from ("--plugin", _short(path))
    for name in metrics:
        yield from ("--metrics", name)
    changed = any(row not in base.quantizers for row in rows if row not in added)  # then --set has all rows but these
    others = [row for row in rows if row not in added] if changed else base.quantizers
    brought = {path.stem for path in files} & {*registry.added("quantizers"), *(row.quantizer for row in added)}
    yield from _only(rows, len(others) + len(brought - {row.quantizer for row in others}))


def _only(rows: Sequence[QuantizerRow], count: int) -> Iterator[str]:
    """Yield the options that keep these ``rows``, if they are not all of ``count``."""
    if len(rows) < count:
        for name in dict.fromkeys(map(_name_of, rows)):
            yield from ("--only", glob.escape(name))


def _added_rows(stored: Plan) -> list[QuantizerRow]:
    """Return the rows that ``--plugin`` brings.

    These are plain ones of quantizers in files, loaded or not.
    """
    loaded, files = registry.names("quantizers"), registry.added("quantizers")
    plugins = stored.inputs.get("plugins", {})
    return [
        row
        for row in stored.suite.quantizers
        if row == QuantizerRow.model_validate(row.quantizer)
        and f"quantizers/{row.quantizer}" in plugins
        and (row.quantizer in files or row.quantizer not in loaded)
    ]


def _name_of(row: QuantizerRow) -> str:
    return row.label or row.quantizer


def _short(path: Path) -> str:
    """Return the path as a person in the current folder writes it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _changes(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the paths below ``path`` that differ, with their values in ``after``."""
    if before == after:
        return
    below: list[tuple[Any, Any, str]] = []
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before and before.keys() <= after.keys():
        below = [(before.get(key), after[key], str(key)) for key in after]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        below = [(old, new, str(position)) for position, (old, new) in enumerate(zip(before, after, strict=True))]
    if not below or any("." in key for _, _, key in below):
        yield path, after
        return
    for old, new, key in below:
        yield from _changes(old, new, f"{path}.{key}")
