"""``vqbench info``: everything about one plugin, suite or protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import add_plugins
from vqbench.cli.output import print_json
from vqbench.errors import UsageError, counted

if TYPE_CHECKING:
    from vqbench.planning.suite import SuiteSpec
    from vqbench.reporting.plugin_facts import ProtocolFacts

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="quantizer, dataset, metric, backbone, recipe, suite or protocol.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, as `vqbench list` prints it.")]


def info(
    kind: Kind, name: Name, sets: shared.Sets = None, plugin: shared.Plugins = None, as_json: shared.Json = False
) -> None:
    """Show all about one plugin, suite or protocol.

    A suite is printed as YAML, with the changes of --set.
    """
    from vqbench.planning.overrides import Override
    from vqbench.planning.suite_files import find_suite, load_suite
    from vqbench.reporting import plugin_facts

    add_plugins(plugin)
    kinds = plugin_facts.plural(kind)
    if sets and kinds != "suites":
        raise UsageError(f"--set changes a suite, and {name} is none; leave it out")
    data: Any
    if kinds == "protocols":
        uses = plugin_facts.protocol_facts(name)
        text, data = protocol_text(name, uses), protocol_data(uses)
    elif kinds == "suites":
        suite = load_suite(name, [Override.parse(each) for each in sets or ()])
        text, data = suite_text(suite, find_suite(name)), suite.model_dump(mode="json", exclude_unset=True)
    else:
        data = plugin_facts.plugin_facts(plugin_facts.PLUGINS[kinds], name)
        text = plugin_text(data)
    if as_json:
        print_json(data)
    else:
        print(text)


def suite_text(suite: SuiteSpec, path: Path) -> str:
    """Write a suite as YAML, below a comment on its file and the number of its runs."""
    from vqbench.planning import yamlfile

    rows, seeds, data = suite.rows(), suite.seeds, suite.datasets
    stages = "" if suite.generate is None else ", each with a second stage"
    runs = counted(len(rows) * len(seeds) * len(data), "cell")
    about = f"{counted(len(rows), 'row')}, {counted(len(data), 'data set')}, {counted(len(seeds), 'seed')}"
    unchanged = {name for name in ("changed", "left_out") if not getattr(suite, name)}
    text = yamlfile.dump(suite.model_dump(exclude_unset=True, exclude=unchanged))
    return f"# {path}: {runs} ({about}){stages}\n{text.rstrip()}"


def protocol_text(name: str, uses: Mapping[str, ProtocolFacts]) -> str:
    """Write a protocol setting by setting, each with its reason."""
    parts = []
    for use, facts in uses.items():
        lines = [f"  {setting} = {knob.value}: {knob.reason}" for setting, knob in facts.settings.items()]
        parts.append("\n".join([f"{use}: {name} - {facts.summary}", *lines]))
    return "\n\n".join(parts)


def protocol_data(uses: Mapping[str, ProtocolFacts]) -> dict[str, Any]:
    """Convert the settings of a protocol to JSON data."""
    return {
        use: {setting: {"value": knob.value, "reason": knob.reason} for setting, knob in facts.settings.items()}
        for use, facts in uses.items()
    }


def plugin_text(facts: Mapping[str, Any]) -> str:
    """Write what a plugin is, facts, arguments, and the rest of its docstring."""
    from vqbench.system.output import fold

    first, _, rest = (facts["about"] or "").partition("\n")
    lines = [fold(first), ""] if first else []
    for fact, value in facts.items():
        if fact not in ("arguments", "about", "name"):
            lines.append(fold(f"{fact.replace('_', ' ')}: {_words(value)}", "  "))
    if arguments := facts.get("arguments"):
        width = max(map(len, arguments))
        lines += ["arguments:", *(f"  {argument:<{width}}  {_words(value)}" for argument, value in arguments.items())]
    return "\n".join([*lines, *([_reflowed(rest)] if rest.strip() else [])])


def _reflowed(docstring: str) -> str:
    """Wrap paragraphs and lists of a docstring; indented blocks stay as they are."""
    from vqbench.system.output import fold

    parts = []
    for paragraph in docstring.strip("\n").split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0].startswith("- "):
            items = "\n".join(lines).removeprefix("- ").split("\n- ")
            parts.append("\n".join(fold(f"- {' '.join(item.split())}", "  ") for item in items))
        elif any(line.startswith((" ", ">>>")) for line in lines):
            parts.append(paragraph)
        else:
            parts.append(fold(" ".join(lines)))
    return "\n" + "\n\n".join(parts)


def _words(value: Any) -> str:
    """Write a fact or a default value as a person would."""
    if isinstance(value, Mapping):
        parts = (
            f"{number:,} {name}" if isinstance(number, int) else f"{name} {number}" for name, number in value.items()
        )
        return ", ".join(parts)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
