"""Render tables as text, Markdown, LaTeX or CSV. The same table gives the same bytes, always."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from vqbench.errors import UsageError, nearest
from vqbench.reporting.tables.formats.csv_text import csv_text
from vqbench.reporting.tables.formats.latex import latex
from vqbench.reporting.tables.formats.layout import Layout, layout
from vqbench.reporting.tables.formats.markdown import markdown
from vqbench.reporting.tables.formats.text import text
from vqbench.reporting.tables.table import Table

_WRITERS: Mapping[str, Callable[[Layout, bool], str]] = {"text": text, "markdown": markdown, "latex": latex}
FORMATS = (*_WRITERS, "csv")


def render(tables: Table | Iterable[Table], form: str = "text", paper: bool = False, all_notes: bool = False) -> str:
    """One or several tables in one of :data:`FORMATS`, ending with a line break.

    With ``paper``, each row is followed by the printed values, our difference from them and the verdicts; CSV has them
    always. With ``all_notes``, all notes stand below a table, not only the five lines that matter most. Raises
    UsageError for an unknown format.
    """
    tables = [tables] if isinstance(tables, Table) else list(tables)
    if form == "csv":
        return csv_text(tables)
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}; {nearest(form, FORMATS)}")
    return "\n".join(_WRITERS[form](layout(table, paper), all_notes) for table in tables)
