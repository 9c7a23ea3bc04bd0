"""List plugins, suites and protocols, and all facts about one of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench import protocol, registry
from vqbench.errors import UsageError, VqbenchError, nearest
from vqbench.planning.suite_files import known_suites, load_suite

PLUGINS: dict[str, registry.Kind] = {
    "quantizers": "quantizers",
    "datasets": "datasets",
    "metrics": "metrics",
    "backbones": "backbones",
    "recipes": "recipes",
}
KINDS = (*PLUGINS, "suites", "protocols")
# Class attributes of the contracts that a reader wants to see.
FACTS = (
    *("paper", "reference", "source", "title", "licence", "counts", "assets", "label", "unit", "better", "VERSION"),
    "distributed",
)
WITH_ARGUMENTS = ("quantizers", "backbones", "recipes")


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


def listing(kind: str) -> list[dict[str, str]]:
    """List every plugin, suite or protocol of ``kind`` with one line about it.

    A broken one has its error instead. Raises UsageError for an unknown kind.
    """
    kind = plural(kind)
    if kind == "suites":
        return [_suite_line(path) for path in known_suites().values()]
    if kind == "protocols":
        train = [{"name": p.name, "kind": "train", "about": p.summary} for p in protocol.TRAIN.values()]
        return train + [{"name": p.name, "kind": "measure", "about": p.summary} for p in protocol.MEASURE.values()]
    plugins = [_plugin_line(PLUGINS[kind], name) for name in registry.names(PLUGINS[kind])]
    broken = [
        {"name": name, "origin": "package", "about": f"BROKEN: {reason}"}
        for name, reason in registry.refused(PLUGINS[kind]).items()
    ]
    presets = [
        {"name": preset, "origin": f"preset of {plugin}", "about": _written(args)}
        for preset, (plugin, args) in registry.presets(PLUGINS[kind]).items()
    ]
    return plugins + broken + presets


def _plugin_line(kind: registry.Kind, name: str) -> dict[str, str]:
    source = registry.sources(kind)[name]
    try:
        about = _about(registry.load(kind, name))
    except VqbenchError as error:
        about = f"BROKEN: {error}"
    return {"name": name, "origin": source.origin, "about": about}


def _about(cls: type) -> str:
    """The first line of the docstring of ``cls``, or the title of a data set."""
    return str(inspect.getdoc(cls) or getattr(cls, "title", "")).split("\n")[0]


def _suite_line(path: Path) -> dict[str, str]:
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
        "source": inspect.getsourcefile(cls),
    }
    if preset:
        facts["preset of"] = f"{plugin} ({_written(preset)})"
    for fact in FACTS:
        value = getattr(cls, fact, None)
        if value not in (None, "", ()) and not callable(value):
            facts[fact.lower()] = list(value) if isinstance(value, tuple) else value
    if kind in WITH_ARGUMENTS:
        facts["arguments"] = {
            argument: "(from the suite)" if default is inspect.Parameter.empty else default
            for argument, (_, default) in registry.parameters(cls)
        }
    return {**facts, "about": inspect.getdoc(cls)}


def _written(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in args.items())
