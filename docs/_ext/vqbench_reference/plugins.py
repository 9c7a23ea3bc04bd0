"""The built-in plugins of a kind: what each computes, its paper, and its arguments with defaults and ranges."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sphinx.ext.napoleon import Config, GoogleDocstring

from vqbench import registry
from vqbench_reference.rst import code, escaped, plain, section, table
from vqbench_reference.suites import value_of

ROOT = Path(__file__).resolve().parents[3]
FACTS = {  # attributes of the contracts -> how a page calls them
    "paper": "Paper",
    "reference": "Reference",
    "title": "Title",
    "source": "Source",
    "licence": "Licence",
    "label": "Label",
    "unit": "Unit",
    "install": "Needs",
}
BETTER = {"min": "lower", "max": "higher"}


def lines(kind: registry.Kind) -> list[str]:
    """Return a section for each built-in plugin of a kind, in the order of their names."""
    names = [name for name in registry.names(kind) if registry.sources(kind)[name].origin == "built-in"]
    classes = {name: registry.load(kind, name) for name in names}
    summaries = [[f":ref:`{name} <{kind}-{name}>`", plain(_summary(cls))] for name, cls in classes.items()]
    out = table(["name", "what it is"], summaries, "25 75")
    for name, cls in classes.items():
        out += section(name, "-", f"{kind}-{name}")
        out += [f".. py:currentmodule:: {cls.__module__}", "", plain(_summary(cls)), ""]
        out += [*_facts(kind, cls), *_details(cls)]
        out += _arguments(cls, kind) if kind != "metrics" else []  # suites give metrics no arguments
    return [*out, ".. py:currentmodule:: None", ""]


def _summary(cls: Any) -> str:
    return str(inspect.getdoc(cls) or getattr(cls, "title", "")).split("\n")[0]


def _details(cls: type) -> list[str]:
    """The docstring after its first line."""
    lines = (inspect.getdoc(cls) or "").splitlines()[1:]
    return [*GoogleDocstring(escaped(lines), Config(), what="class", obj=cls).lines(), ""]


def _facts(kind: registry.Kind, cls: Any) -> list[str]:
    """One line for each fact: paper, presets, counts, file."""
    fields = {label: plain(str(getattr(cls, fact))) for fact, label in FACTS.items() if _text(cls, fact)}
    if kind == "metrics":
        fields["Better"] = BETTER[cls.better]
        if cls.few:
            fields["Ranked from"] = f"{cls.few:,} images"
    if kind == "datasets" and isinstance(getattr(cls, "counts", None), dict):
        fields["Images"] = ", ".join(f"{count:,} {split}" for split, count in cls.counts.items())
    if presets := getattr(cls, "presets", {}):
        fields["Presets"] = "; ".join(f"{code(preset)} ({_written(args)})" for preset, args in presets.items())
    path = Path(inspect.getsourcefile(cls) or "").resolve()
    if path.is_relative_to(ROOT):
        fields["File"] = code(path.relative_to(ROOT))
    return [*(f"| **{label}:** {value}" for label, value in fields.items()), ""]


def _text(cls: Any, fact: str) -> bool:
    return isinstance(getattr(cls, fact, None), str) and bool(getattr(cls, fact))


def _written(args: Any) -> str:
    return ", ".join(f"{code(name)} {code(json.dumps(value))}" for name, value in args.items())


def _arguments(cls: type, kind: registry.Kind) -> list[str]:
    rows = []
    for name, (annotation, default) in registry.parameters(cls):
        given = "from the suite" if kind == "quantizers" else "**required**"
        shown = given if default is inspect.Parameter.empty else code(json.dumps(default))
        rows.append([code(name), value_of(TypeAdapter(annotation).json_schema()), shown])
    return table(["argument", "value", "default"], rows, "30 45 25") if rows else []
