"""``vqbench info``: everything about one plugin, suite or protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import add_plugins
from vqbench.cli.output import print_json

if TYPE_CHECKING:
    from vqbench.reporting.plugin_facts import ProtocolFacts

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="quantizer, dataset, metric, backbone, recipe, suite or protocol.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, as `vqbench list` prints it.")]


def info(kind: Kind, name: Name, plugin: shared.Plugins = None, as_json: shared.Json = False) -> None:
    """Show all about one plugin, suite or protocol."""
    from vqbench.planning.suite_files import load_suite
    from vqbench.reporting import plugin_facts

    add_plugins(plugin)
    kinds = plugin_facts.plural(kind)
    data: Any
    if kinds == "protocols":
        uses = plugin_facts.protocol_facts(name)
        text, data = protocol_text(name, uses), protocol_data(uses)
    elif kinds == "suites":
        suite = load_suite(name)
        text, data = suite.dump().rstrip(), suite.model_dump(mode="json", exclude_unset=True)
    else:
        data = plugin_facts.plugin_facts(plugin_facts.PLUGINS[kinds], name)
        text = plugin_text(data)
    if as_json:
        print_json(data)
    else:
        print(text)


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
    """Write the facts about a plugin one per line, then its docstring."""
    lines = [f"{fact}: {value}" for fact, value in facts.items() if fact not in ("arguments", "about")]
    lines += [f"  {argument} = {default}" for argument, default in facts.get("arguments", {}).items()]
    return "\n".join([*lines, "", facts["about"] or ""]).rstrip()
