"""Render tables as text, Markdown, LaTeX or CSV.

The same table always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from vqbench.errors import UsageError, nearest
from vqbench.reporting.tables.formats.csv_text import csv_text
from vqbench.reporting.tables.formats.latex import latex
from vqbench.reporting.tables.formats.layout import Layout, layout
from vqbench.reporting.tables.formats.markdown import markdown
from vqbench.reporting.tables.formats.text import text
from vqbench.reporting.tables.table import Table
from vqbench.system.output import LINE

FORMATS = ("text", "markdown", "latex", "csv")


def render(
    tables: Table | Iterable[Table],
    form: str = "text",
    paper: bool = False,
    all_notes: bool = False,
    width: int = LINE,
) -> str:
    """Render one or several tables in one format, ending with a line break.

    Args:
        form: "text", "markdown", "latex" or "csv".
        paper: Follow each row by the printed values, our differences from them and the verdicts; CSV always has them.
        all_notes: Show all notes below a table, not only the first five lines.
        width: Columns of a line of text; in a table, columns that do not fit follow in a second block.

    Raises UsageError for an unknown format.
    """
    tables = [tables] if isinstance(tables, Table) else list(tables)
    if form == "csv":
        return csv_text(tables)
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}; {nearest(form, FORMATS)}")
    writers: Mapping[str, Callable[[Layout, bool], str]] = {
        "text": partial(text, width=width),
        "markdown": markdown,
        "latex": latex,
    }
    return "\n".join(writers[form](layout(table, paper), all_notes) for table in tables)
