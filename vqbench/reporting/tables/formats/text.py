"""Write tables as plain text."""

from __future__ import annotations

import textwrap

from tabulate import SEPARATING_LINE, tabulate

from vqbench.reporting.tables.formats.layout import Layout
from vqbench.reporting.tables.formats.style import Style, alignment, joined
from vqbench.system.console import one_line

_WIDTH = 110

_STYLE = Style(
    escape=str,
    best="*{}",
    second="_{}",
    mark="[{}]",
    marks=" [{}]",
    part="· {}",
    ranks="* best, _ second",
)


def text(page: Layout, all_notes: bool) -> str:
    table = page.table
    rows: list[list[str] | str] = []
    for line in page.lines:
        if line.kind == "block":
            rows += [SEPARATING_LINE] if rows else []
            rows.append([_STYLE.label(line), *[""] * len(table.slots)])
        else:
            rows.append(_STYLE.cells(line))
    heads = [f"{group.label}\n{column.head}" if group else column.head for group, column in table.slots]
    body = tabulate(rows, ["", *map(_tidy_head, heads)], "simple", disable_numparse=True, colalign=alignment(table))
    notes = page.below(_STYLE.ranks, all_notes)
    below = [_wrapped(text, f"{_STYLE.mark.format(mark)} " if mark else "") for mark, text in notes]
    return joined([one_line(table.title), *map(one_line, table.caption)], ["", body], ["", *below] if below else [])


def _wrapped(text: str, start: str = "") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)


def _tidy_head(head: str) -> str:
    return "\n".join(map(one_line, head.split("\n")))
