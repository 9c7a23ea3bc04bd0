"""What there is, and all about one of it: the plugins, suites and protocols, and the machine."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vqbench import protocol, registry
from vqbench.errors import UsageError, VqbenchError, nearest
from vqbench.system.output import CommandOutput, grid

PLUGINS: dict[str, registry.Kind] = {
    "quantizers": "quantizers",
    "datasets": "datasets",
    "metrics": "metrics",
    "backbones": "backbones",
    "recipes": "recipes",
}
# Class attributes of the contracts that a reader wants to know.
FACTS = (
    *("paper", "reference", "source", "title", "licence", "counts", "assets", "label", "unit", "better", "VERSION"),
    "distributed",
)
KINDS = (*PLUGINS, "suites", "protocols")


def listing(kind: str) -> CommandOutput:
    """Every plugin, suite or protocol of one kind, with a line on each; a broken plugin with what is wrong with it."""
    kind = _kind(kind)
    if kind == "suites":
        rows = [_suite_line(path) for path in _suites()]
    elif kind == "protocols":
        rows = [{"name": p.name, "kind": "train", "about": p.summary} for p in protocol.TRAIN.values()]
        rows += [{"name": p.name, "kind": "measure", "about": p.summary} for p in protocol.MEASURE.values()]
    else:
        rows = [_plugin_line(PLUGINS[kind], name) for name in registry.names(PLUGINS[kind])]
        rows += [
            {"name": name, "origin": "package", "about": f"BROKEN: {why}"}
            for name, why in registry.refused(PLUGINS[kind]).items()
        ]
        rows += [
            {"name": preset, "origin": f"preset of {plugin}", "about": ", ".join(f"{k}={v}" for k, v in args.items())}
            for preset, (plugin, args) in registry.presets(PLUGINS[kind]).items()
        ]
    text = grid(list(rows[0]) if rows else [], [list(row.values()) for row in rows])
    return CommandOutput(text, rows)


def _kind(kind: str) -> str:
    """The plural of a kind, whichever was given."""
    plural = kind if kind.endswith("s") else kind + "s"
    if plural not in KINDS:
        raise UsageError(f"unknown kind {kind!r}; {nearest(kind, KINDS)}")
    return plural


def _plugin_line(kind: registry.Kind, name: str) -> dict[str, Any]:
    source = registry.sources(kind)[name]
    try:
        about = _about(registry.load(kind, name))
    except VqbenchError as error:
        about = f"BROKEN: {error}"
    return {"name": name, "origin": source.origin, "about": about}


def _about(cls: type) -> str:
    """The first line of a class's docstring, or a data set's title."""
    return str(inspect.getdoc(cls) or getattr(cls, "title", "")).split("\n")[0]


def _suites() -> Iterable[Path]:
    from vqbench.planning.suite_files import known_suites

    return known_suites().values()


def _suite_line(path: Path) -> dict[str, Any]:
    from vqbench.planning.suite_files import load_suite

    try:
        about = load_suite(path).title or ""
    except VqbenchError as error:
        about = f"BROKEN: {error}"
    return {"name": path.stem, "about": about}


def info(kind: str, name: str) -> CommandOutput:
    """All about one plugin, suite or protocol."""
    kind = _kind(kind)
    if kind == "protocols":
        return _protocol(name)
    if kind == "suites":
        return _suite(name)
    return _plugin(PLUGINS[kind], name)


def _protocol(name: str) -> CommandOutput:
    """Knob by knob, with the reason; a name may be a training protocol, a measuring protocol, or both."""
    knobs: dict[str, dict[str, protocol.Knob]] = {}
    if name in protocol.TRAIN:
        knobs["train"] = dict(protocol.TRAIN[name].settings)
    if name in protocol.MEASURE:
        knobs["measure"] = protocol.MEASURE[name].knobs()
    if not knobs:
        raise UsageError(f"unknown protocol {name!r}; {nearest(name, {**protocol.TRAIN, **protocol.MEASURE})}")
    summaries = {"train": protocol.TRAIN[name].summary if name in protocol.TRAIN else None}
    summaries["measure"] = protocol.MEASURE[name].summary if name in protocol.MEASURE else None
    parts = []
    for use, settings in knobs.items():
        lines = [f"  {knob} = {setting.value}: {setting.reason}" for knob, setting in settings.items()]
        parts.append("\n".join([f"{use}: {name} - {summaries[use]}", *lines]))
    data = {
        use: {knob: {"value": setting.value, "reason": setting.reason} for knob, setting in settings.items()}
        for use, settings in knobs.items()
    }
    return CommandOutput("\n\n".join(parts), data)


def _suite(name: str) -> CommandOutput:
    from vqbench.planning.suite_files import load_suite

    suite = load_suite(name)
    return CommandOutput(suite.dump().rstrip(), suite.model_dump(mode="json", exclude_unset=True))


def _plugin(kind: registry.Kind, name: str) -> CommandOutput:
    plugin, cls, preset = registry.find(kind, name)
    facts: dict[str, Any] = {
        "name": name,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "source": inspect.getsourcefile(cls),
    }
    if preset:
        facts["preset of"] = f"{plugin} ({', '.join(f'{k}={v}' for k, v in preset.items())})"
    for fact in FACTS:
        value = getattr(cls, fact, None)
        if value not in (None, "", ()) and not callable(value):
            facts[fact.lower()] = list(value) if isinstance(value, tuple) else value
    if kind in ("quantizers", "backbones", "recipes"):
        facts["arguments"] = {
            argument: "(from the suite)" if default is inspect.Parameter.empty else default
            for argument, (_, default) in registry.parameters(cls)
        }
    lines = [f"{fact}: {value}" for fact, value in facts.items() if fact != "arguments"]
    lines += [f"  {argument} = {default}" for argument, default in facts.get("arguments", {}).items()]
    return CommandOutput(
        "\n".join([*lines, "", inspect.getdoc(cls) or ""]).rstrip(), {**facts, "about": inspect.getdoc(cls)}
    )


def _golden() -> list[dict[str, str]]:
    """Whether this installation computes what it should, group by group; see :mod:`vqbench.conformance.golden`."""
    try:
        from vqbench.conformance import golden

        return [asdict(outcome) for outcome in golden.check()]
    except (ImportError, OSError, ValueError) as error:
        return [{"name": "all", "state": "FAIL", "about": f"cannot be computed: {error}"}]


def doctor() -> CommandOutput:
    """Versions, devices and assets, which suites could run offline, and whether values come out as they should."""
    from vqbench import assets
    from vqbench.execution import provenance
    from vqbench.system import machine

    facts: dict[str, Any] = {"versions": provenance.versions(), "processor": machine.processor()}
    problems = []
    try:
        import torch

        facts["threads"] = torch.get_num_threads()
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except ImportError as error:
        problems.append(f"torch cannot be imported: {error}")
    try:
        from vqbench.networks.compat import ensure_torchvision

        ensure_torchvision()
        import lpips  # noqa: F401
        import torch_fidelity  # noqa: F401
    except Exception as error:
        problems.append(f"lpips or torch-fidelity cannot be imported: {error}")
    facts["commit"] = provenance.commit()
    facts["assets"] = {name: assets.state(name) for name in assets.CATALOGUE}
    facts["cache"] = str(assets.cache_folder())
    facts["broken plugins"] = [
        f"{row['name']}: {row['about']}"
        for kind in PLUGINS
        for row in listing(kind).data
        if row["about"].startswith("BROKEN")
    ]
    facts["problems"] = problems
    facts["golden check"] = _golden()
    lines = []
    for fact, value in facts.items():
        if fact == "golden check":
            lines += [f"{fact}:", *(f"  {each['state']}  {each['name']}: {each['about']}" for each in value)]
            continue
        if isinstance(value, dict):
            lines += [f"{fact}:", *(f"  {key}: {item}" for key, item in value.items())]
        else:
            lines.append(f"{fact}: {', '.join(map(str, value)) or 'none' if isinstance(value, list) else value}")
    absent = [name for name, state in facts["assets"].items() if state == "missing"]
    lines.append(f"would work offline: {'all but what needs ' + ', '.join(absent) if absent else 'every suite'}")
    return CommandOutput("\n".join(lines), facts)
