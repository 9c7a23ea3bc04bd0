"""The commands, from the objects that parse them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from vqbench.cli.commands import EXIT_CODES, app
from vqbench_reference.rst import code, literal, plain, section, table


def lines() -> list[str]:
    """Return a section for each command: what it does, its usage, arguments and options; then the exit codes."""
    group: Any = typer.main.get_command(app)
    parent = group.context_class(group, info_name="vqbench")
    out = []
    for heading, names in group.sections():
        out += section(heading, "-")
        for name in names:
            command = group.commands[name]
            out += section(f"vqbench {name}", "~", f"command-{name}")
            out += _command(command, group.context_class(command, info_name=name, parent=parent))
    out += section("Options of all commands", "-")
    records = [parameter.get_help_record(parent) for parameter in group.params]
    out += _table("Options", [record for record in records if record])
    out += section("Exit codes", "-", "exit-codes")
    return out + table(["code", "meaning"], [[str(number), plain(meaning)] for number, meaning in EXIT_CODES.items()])


def _command(command: Any, context: Any) -> list[str]:
    paragraphs = [plain(paragraph.replace("\b", "")) for paragraph in (command.help or "").split("\n\n")]
    usage = command.get_usage(context).removeprefix("Usage: ")
    tables = [line for heading, entries in command.sections(context) for line in _table(heading, entries)]
    return [line for each in paragraphs for line in (each, "")] + literal(usage) + tables


def _table(heading: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    """A table of arguments or options, under the heading that ``--help`` has."""
    rows = [[code(name), plain(meaning)] for name, meaning in entries if not name.endswith("--help")]
    return table([plain(heading), "meaning"], rows, "35 65") if rows else []
