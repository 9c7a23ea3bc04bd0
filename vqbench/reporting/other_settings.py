"""Find the settings under which a store has runs of a suite.

A run is named by all that decides its weights, so a suite with another folder of images, or with fewer epochs, has
other runs, and its table shows none of those that were made before. A store keeps what each suite resolved to; the
difference from the suite's file, as options of the command line, shows these runs again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqbench.errors import counted
from vqbench.planning import plan_file
from vqbench.planning.overrides import Override
from vqbench.planning.plan import Plan
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import known_suites, load_suite
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
    outdated: bool = False  # the settings are the same, but the runs are of other versions of plugins, or other images

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
        if _name_in_file(stored.suite) != base.name:
            continue
        runs = stored.runs()
        finished = sum(run in store for run in runs)
        if any(run.key not in own and store.folder(run).exists() for run in runs):
            options = tuple(_options(base, stored.suite))
            if options not in found or found[options].finished < finished:
                found[options] = OtherSettings(options, finished, len(runs), _alike(base, plan.suite, stored.suite))
    return sorted(found.values(), key=lambda settings: -settings.finished)


def settings_of(store: ResultStore) -> list[str]:
    """Name every suite that ``store`` has runs of, with their options.

    Options are only known of suites that are found by their name.
    """
    named = []
    for stored in plan_file.stored(store):
        name = _name_in_file(stored.suite)
        if any(run in store for run in stored.runs()):
            words = [name, *_options(load_suite(name), stored.suite)] if name in known_suites() else [name]
            named.append(shlex.join(words))
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
    changed = [each for each in others if not each.outdated]
    lines = [f"{root} has runs of {suite} under other settings:"] if changed else []
    for each in changed[:MOST]:
        finished = f"{each.finished:,} of {counted(each.runs, 'run')} finished"
        lines.append(f"  {each.command(command, suite, store)}  # {finished}")
    if len(changed) > MOST:
        lines.append(f"  and under {len(changed) - MOST} more, in {root}/suites")
    lines += [
        f"{root} has {counted(each.runs, 'run')} of {suite} from other versions of its plugins or of its images; "
        f"{each.command('run', suite, store)} makes new ones."
        for each in others
        if each.outdated
    ]
    return "\n".join(lines)


def _name_in_file(suite: SuiteSpec) -> str:
    """The name that the file of a stored suite has."""
    return suite.name.removesuffix("_reduced") if suite.reduced or suite.test_images else suite.name


def _alike(base: SuiteSpec, asked: SuiteSpec, stored: SuiteSpec) -> bool:
    """Return whether two changes of ``base`` share runs.

    If they do and the keys of these differ, plugins or images have changed in between.
    """
    rows = any(row in asked.quantizers for row in stored.quantizers)
    seeds = not set(asked.seeds).isdisjoint(stored.seeds)
    return rows and seeds and [*_settings(base, asked)] == [*_settings(base, stored)]


def _options(base: SuiteSpec, stored: SuiteSpec) -> Iterator[str]:
    """Yield the options that change ``base`` so that it has the runs of ``stored``."""
    yield from _settings(base, stored)
    before, after = (each.model_dump(mode="json", exclude_unset=True)["quantizers"] for each in (base, stored))
    if not all(row in before for row in after):
        for path, value in _changes(before, after, "quantizers"):
            yield from ("--set", str(Override(path, value)))
    elif len(after) < len(before):
        for name in dict.fromkeys(row.label or row.quantizer for row in stored.quantizers):
            yield from ("--only", name)
    if not set(stored.seeds) <= set(base.seeds):
        yield from ("--seeds", ",".join(map(str, stored.seeds)))


def _settings(base: SuiteSpec, stored: SuiteSpec) -> Iterator[str]:
    """Yield those of these options that are about neither rows nor seeds."""
    before, after = (each.model_dump(mode="json", exclude_unset=True) for each in (base, stored))
    for key in DECISIVE:
        if key in after and getattr(base, key) != getattr(stored, key):
            for path, value in _changes(before.get(key), after[key], key):
                yield from ("--set", str(Override(path, value)))
    for argument, value in stored.reduced.items():
        yield from (f"--{argument.replace('_', '-')}", str(value))
    if stored.test_images:
        yield from ("--test-images", str(stored.test_images))


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
