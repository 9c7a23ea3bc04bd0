"""Write tables as Markdown."""

from __future__ import annotations

import re

from tabulate import tabulate

from vqbench.reporting.tables.formats.layout import Layout
from vqbench.reporting.tables.formats.style import Style, alignment, joined
from vqbench.system.console import one_line


def _escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|~\[\]$])", r"\\\1", text)


def line_start(text: str) -> str:
    """Escape text at the start of a line.

    There a hash, hyphen or number would begin a heading or a list.
    """
    return _escape_start(_escape(text))


def _escape_start(escaped: str) -> str:
    return re.sub(r"^(\d*)([#+\-=.)])", r"\1\\\2", escaped)


_STYLE = Style(
    escape=_escape,
    best="**{}**",
    second="<u>{}</u>",
    mark="<sup>{}</sup>",
    marks="<sup>{}</sup>",
    part="&nbsp;&nbsp;{}",
    ranks="Bold best, underlined second",
)


def markdown(page: Layout, all_notes: bool) -> str:
    table, escape = page.table, _STYLE.escape
    rows = [
        [f"*{_STYLE.label(line)}*", *[""] * len(table.slots)] if line.kind == "block" else _STYLE.cells(line)
        for line in page.lines
    ]
    heads = [
        "<br>".join(escape(one_line(part)) for part in ((group.label, column.head) if group else (column.head,)))
        for group, column in table.slots
    ]
    body = tabulate(rows, ["", *heads], "pipe", disable_numparse=True, colalign=alignment(table))
    above = [f"### {escape(one_line(table.title))}", *(line_start(one_line(line)) for line in table.caption)]
    below = [f"- {_escape_start(note)}" for note in _STYLE.notes(page, all_notes)]
    return joined(["\n\n".join(above)], ["", body], ["", *below] if below else [])
