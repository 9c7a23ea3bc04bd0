"""The commands, from the objects that parse them."""

from __future__ import annotations

from typing import Any

import typer

from vqbench.cli.app import EXIT_CODES, app
from vqbench_reference.rst import code, literal, plain, section, table


def lines() -> list[str]:
    """Return a section for each command: what it does, its usage, arguments and options; then the exit codes."""
    group: Any = typer.main.get_command(app)
    parent = group.context_class(group, info_name="vqbench")
    out = []
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if not command.hidden:
            out += section(f"vqbench {name}", "-", f"command-{name}")
            out += _command(command, group.context_class(command, info_name=name, parent=parent))
    out += section("Options of all commands", "-") + _parameters(group, parent)
    out += section("Exit codes", "-", "exit-codes")
    return out + table(["code", "meaning"], [[str(number), plain(meaning)] for number, meaning in EXIT_CODES.items()])


def _command(command: Any, context: Any) -> list[str]:
    paragraphs = [plain(paragraph.replace("\b", "")) for paragraph in (command.help or "").split("\n\n")]
    usage = command.get_usage(context).removeprefix("Usage: ")
    return [line for each in paragraphs for line in (each, "")] + literal(usage) + _parameters(command, context)


def _parameters(command: Any, context: Any) -> list[str]:
    """Tables of arguments and options, under the headings that ``--help`` has."""
    panels: dict[str, list[list[str]]] = {}
    for parameter in command.params:
        if (record := parameter.get_help_record(context)) and parameter.name != "help":
            kind = "argument" if parameter.param_type_name == "argument" else "option"
            panel = getattr(parameter, "rich_help_panel", None) or kind
            panels.setdefault(str(panel), []).append([code(record[0]), plain(record[1])])
    return [line for panel, rows in panels.items() for line in table([panel, "meaning"], rows, "35 65")]
