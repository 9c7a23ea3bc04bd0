"""List plugins, suites and protocols, and all facts about one of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench import protocol, registry
from vqbench.errors import UsageError, VqbenchError, nearest
from vqbench.planning import plan_file
from vqbench.planning.suite_files import known_suites, load_suite
from vqbench.reporting.run_states import row_name
from vqbench.store.external_rows import external_records
from vqbench.store.results import ResultStore

PLUGINS: dict[str, registry.Kind] = {
    "quantizers": "quantizers",
    "datasets": "datasets",
    "metrics": "metrics",
    "backbones": "backbones",
    "recipes": "recipes",
}
KINDS = (*PLUGINS, "suites", "protocols", "runs")
# Class attributes of the contracts that a reader wants to see.
FACTS = (
    *("paper", "reference", "title", "source", "licence", "counts", "size", "channels", "assets", "label", "unit"),
    *("better", "VERSION", "distributed"),
)
WITH_ARGUMENTS = ("quantizers", "backbones", "recipes", "datasets")
Listed = dict[str, str | int | None]


@dataclass(frozen=True)
class ProtocolFacts:
    """One use of a protocol, ``train`` or ``measure``: summary and settings."""

    summary: str
    settings: Mapping[str, protocol.Knob]


def plural(kind: str) -> str:
    """Return the plural of ``kind``, which may be given as either.

    Raises UsageError for an unknown kind.
    """
    name = kind if kind.endswith("s") else kind + "s"
    if name not in KINDS:
        raise UsageError(f"unknown kind {kind!r}; {nearest(kind, KINDS)}")
    return name


def listing(kind: str) -> list[Listed]:
    """List every plugin, suite or protocol of ``kind`` with one line about it.

    Quantizers also have their paper and its year. A broken plugin has its error instead. Raises UsageError for an
    unknown kind.
    """
    kind = plural(kind)
    if kind == "runs":
        raise UsageError("runs are listed of a store and have no further facts; `vqbench list runs --store FOLDER`")
    if kind == "suites":
        return [_suite_line(path) for path in known_suites().values()]
    if kind == "protocols":
        train: list[Listed] = [{"name": p.name, "use": "train", "about": p.summary} for p in protocol.TRAIN.values()]
        measure: list[Listed] = [
            {"name": p.name, "use": "measure", "about": p.summary} for p in protocol.MEASURE.values()
        ]
        return [*train, *measure]
    plugins = [_plugin_line(PLUGINS[kind], name) for name in registry.names(PLUGINS[kind])]
    broken: list[Listed] = [
        {"name": name, "origin": "package", "about": f"BROKEN: {reason}", **_published(kind, None)}
        for name, reason in registry.refused(PLUGINS[kind]).items()
    ]
    presets: list[Listed] = [
        {
            "name": preset,
            "origin": f"preset of {plugin}",
            "about": f"{plugin} with {_written(args)}.",
            **_published(kind, registry.load(PLUGINS[kind], plugin)),
        }
        for preset, (plugin, args) in registry.presets(PLUGINS[kind]).items()
    ]
    return plugins + broken + presets


def _plugin_line(kind: registry.Kind, name: str) -> Listed:
    source = registry.sources(kind)[name]
    cls = None
    try:
        cls = registry.load(kind, name)
        about = _about(cls)
    except VqbenchError as error:
        about = f"BROKEN: {error}"
    return {"name": name, "origin": source.origin, "about": about, **_published(kind, cls)}


def _published(kind: str, cls: type | None) -> Listed:
    """Return the paper of a quantizer and its year; nothing for other kinds."""
    if kind != "quantizers":
        return {}
    paper = str(getattr(cls, "paper", "") or "")
    return {"year": year(paper), "paper": paper}


def year(paper: str) -> int | None:
    """Return the year of the first work that ``paper`` cites; None without one.

    >>> year("A. Author, A Title, ICML 2021, arXiv 2002.12092; B. Other, 2017")
    2021
    """
    found = re.search(r"\b(19|20)\d\d\b", re.sub(r"arXiv \S+", "", paper))
    return int(found[0]) if found else None


def title(paper: str) -> str:
    """Return title and place of the first work that ``paper`` cites.

    >>> title("A. van den Oord, O. Vinyals, Neural Discrete Representation Learning, NeurIPS 2017, arXiv 1711.00937")
    'Neural Discrete Representation Learning, NeurIPS 2017'
    """
    first = re.sub(r", arXiv \S+$| \([^)]*$", "", paper.split("; ")[0])
    return re.sub(r"^((\S\.[- ]?)+ ?[^,.]{2,30}( et al\.)?, )+", "", first)


def runs(store: ResultStore) -> list[Listed]:
    """List the finished runs of ``store``, with the suites and rows that show them."""
    rows: dict[str, list[str]] = {}
    for plan in plan_file.stored(store):
        for entry in plan.entries:
            for run in entry.stages():
                row = f"{plan.suite.name}: {row_name(entry, run)}"
                if row not in rows.setdefault(run.key, []):
                    rows[run.key].append(row)
    return [
        {
            "name": record.run.key,
            "dataset": record.run.dataset.name,
            "quantizer": record.run.quantizer.name,
            "recipe": record.run.recipe.name,
            "seed": record.run.seed,
            "date": record.made["date"] or None,
            "about": ", ".join(rows.get(record.run.key, [])),
        }
        for record in store.records()
    ]


def external_rows(store: ResultStore) -> list[Listed]:
    """List the rows of ``store`` that were not trained by vqbench."""
    return [
        {
            "name": record.key,
            "dataset": record.dataset["name"],
            "date": record.made.get("date") or None,
            "about": f"{record.suite}: {record.label} (external)",
        }
        for record in external_records(store)
    ]


def _about(cls: type) -> str:
    """The first line of the docstring of ``cls``, or the title of a data set."""
    return str(inspect.getdoc(cls) or getattr(cls, "title", "")).split("\n")[0]


def _suite_line(path: Path) -> Listed:
    try:
        about = load_suite(path).title or ""
    except VqbenchError as error:
        about = f"BROKEN: {error}"
    return {"name": path.stem, "about": about}


def protocol_facts(name: str) -> dict[str, ProtocolFacts]:
    """Return the settings of a protocol per use: training, measuring or both.

    Raises UsageError for an unknown name.
    """
    facts = {}
    if name in protocol.TRAIN:
        facts["train"] = ProtocolFacts(protocol.TRAIN[name].summary, dict(protocol.TRAIN[name].settings))
    if name in protocol.MEASURE:
        facts["measure"] = ProtocolFacts(protocol.MEASURE[name].summary, protocol.MEASURE[name].knobs())
    if not facts:
        raise UsageError(f"unknown protocol {name!r}; {nearest(name, {**protocol.TRAIN, **protocol.MEASURE})}")
    return facts


def plugin_facts(kind: registry.Kind, name: str) -> dict[str, Any]:
    """Return all facts about one plugin or preset.

    These are its class, source, attributes, arguments and docstring. Raises UsageError for an unknown name.
    """
    plugin, cls, preset = registry.find(kind, name)
    facts: dict[str, Any] = {
        "name": name,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "file": inspect.getsourcefile(cls),
    }
    if preset:
        facts["preset_of"] = f"{plugin} ({_written(preset)})"
    for fact in FACTS:
        value = getattr(cls, fact, None)
        if value not in (None, "", ()) and not callable(value):
            facts[fact.lower()] = list(value) if isinstance(value, tuple) else value
    if kind in WITH_ARGUMENTS:
        facts["arguments"] = {
            argument: "(from the suite)" if default is inspect.Parameter.empty else default
            for argument, (_, default) in registry.parameters(cls)
        } | dict(preset)
    return {**facts, "about": inspect.getdoc(cls)}


def _written(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in args.items())
