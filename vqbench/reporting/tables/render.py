"""Tables as text, Markdown, LaTeX and CSV. The same table gives the same bytes, always."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tabulate import SEPARATING_LINE, tabulate

from vqbench.errors import UsageError, nearest
from vqbench.reporting.tables import latex
from vqbench.reporting.tables.layout import Layout, Piece, TextLine, layout
from vqbench.reporting.tables.table import CellPosition, Table
from vqbench.system.console import one_line, visible

_TEXT_WIDTH = 110


def render(tables: Table | Iterable[Table], form: str = "text", paper: bool = False, all_notes: bool = False) -> str:
    """One or several tables in one of :data:`FORMATS`, ending with a line break.

    With ``paper``, each row is followed by the printed values, our difference from them and the verdicts; CSV has them
    always. With ``all_notes``, all notes stand below a table, not only the five lines that matter most. Raises
    UsageError for an unknown format.
    """
    tables = [tables] if isinstance(tables, Table) else list(tables)
    if form == "csv":
        return _csv(tables)
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}; {nearest(form, FORMATS)}")
    return "\n".join(_WRITERS[form](layout(table, paper), all_notes) for table in tables)


@dataclass(frozen=True)
class _Style:
    """How a format writes plain text, ranks and footnote marks."""

    escape: Callable[[str], str]
    best: str
    second: str
    mark: str  # one mark
    marks: str  # the place of all marks of a cell, one after the other
    part: str  # label of a part of a row
    ranks: str  # how the best and the second best look

    def piece(self, piece: Piece) -> str:
        text = self.escape(piece.text)
        if piece.rank:
            text = {"best": self.best, "second": self.second}[piece.rank].format(text)
        marks = self.marks.format(",".join(map(self.escape, piece.marks))) if piece.marks else ""
        return text + self.escape(piece.tail) + marks

    def label(self, line: TextLine) -> str:
        text = self.piece(line.label)
        return self.part.format(text) if line.kind == "part" else text

    def cells(self, line: TextLine) -> list[str]:
        return [self.label(line), *map(self.piece, line.pieces)]


# Text -----------------------------------------------------------------------------------------------------------------

_TEXT = _Style(
    escape=str,
    best="*{}",
    second="_{}",
    mark="[{}]",
    marks=" [{}]",
    part="· {}",
    ranks="* best, _ second",
)


def _text(page: Layout, all_notes: bool) -> str:
    table = page.table
    rows: list[list[str] | str] = []
    for line in page.lines:
        if line.kind == "block":
            rows += [SEPARATING_LINE] if rows else []
            rows.append([_TEXT.label(line), *[""] * len(table.slots)])
        else:
            rows.append(_TEXT.cells(line))
    heads = [f"{group.label}\n{column.head}" if group else column.head for group, column in table.slots]
    body = tabulate(rows, ["", *map(_tidy_head, heads)], "simple", disable_numparse=True, colalign=_alignment(table))
    notes = page.below(_TEXT.ranks, all_notes)
    below = [_wrapped(text, f"{_TEXT.mark.format(mark)} " if mark else "") for mark, text in notes]
    return _joined([one_line(table.title), *map(one_line, table.caption)], ["", body], ["", *below] if below else [])


def _wrapped(text: str, start: str = "") -> str:
    return textwrap.fill(
        text, _TEXT_WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
    )


def _tidy_head(head: str) -> str:
    return "\n".join(map(one_line, head.split("\n")))


# Markdown -------------------------------------------------------------------------------------------------------------


def _escape_markdown(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|~\[\]$])", r"\\\1", text)


def _markdown_line(text: str) -> str:
    """Text that begins a line, where a hash sign, a hyphen or a number would begin a heading or a list."""
    return _line_start(_escape_markdown(text))


def _line_start(escaped: str) -> str:
    return re.sub(r"^(\d*)([#+\-=.)])", r"\1\\\2", escaped)


_MARKDOWN = _Style(
    escape=_escape_markdown,
    best="**{}**",
    second="<u>{}</u>",
    mark="<sup>{}</sup>",
    marks="<sup>{}</sup>",
    part="&nbsp;&nbsp;{}",
    ranks="Bold best, underlined second",
)


def _markdown(page: Layout, all_notes: bool) -> str:
    table, escape = page.table, _MARKDOWN.escape
    rows = [
        [f"*{_MARKDOWN.label(line)}*", *[""] * len(table.slots)] if line.kind == "block" else _MARKDOWN.cells(line)
        for line in page.lines
    ]
    heads = [
        "<br>".join(escape(one_line(part)) for part in ((group.label, column.head) if group else (column.head,)))
        for group, column in table.slots
    ]
    body = tabulate(rows, ["", *heads], "pipe", disable_numparse=True, colalign=_alignment(table))
    above = [f"### {escape(one_line(table.title))}", *(_markdown_line(one_line(line)) for line in table.caption)]
    below = [f"- {_line_start(note)}" for note in _notes(page, _MARKDOWN, all_notes)]
    return _joined(["\n\n".join(above)], ["", body], ["", *below] if below else [])


# LaTeX ----------------------------------------------------------------------------------------------------------------

_LATEX = _Style(
    escape=latex.escape,
    best=r"\textbf{{{}}}",
    second=r"\underline{{{}}}",
    mark=r"\textsuperscript{{{}}}",
    marks=r"\textsuperscript{{{}}}",
    part=r"\quad {}",
    ranks="Bold best, underlined second",
)


def _latex(page: Layout, all_notes: bool) -> str:
    table, escape = page.table, _LATEX.escape
    width = 1 + len(table.slots)
    body: list[str] = []
    for line in page.lines:
        if line.kind == "block":
            body += [r"\midrule"] if body else []
            body.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_LATEX.label(line)}}}}} \\")
        else:
            body.append(" & ".join(_LATEX.cells(line)) + r" \\")
    below = [escape(one_line(text)) for text in table.caption]
    below += _notes(page, _LATEX, all_notes)
    text = _joined(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(one_line(table.title))}}}",
            rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        ],
        [r"\toprule", *_latex_heads(table), r"\midrule", *body, r"\bottomrule", r"\end{tabular}"],
        [r"\begin{flushleft}\footnotesize", " \\par\n".join(below), r"\end{flushleft}"] if below else [],
        [r"\end{table}"],
    )
    return f"{latex.needs(text)}\n{text}"


def _latex_heads(table: Table) -> list[str]:
    lines = []
    if table.groups:
        span = len(table.columns)
        labels = [rf"\multicolumn{{{span}}}{{c}}{{{latex.escape(one_line(group.label))}}}" for group in table.groups]
        rules = [rf"\cmidrule(lr){{{2 + i * span}-{1 + (i + 1) * span}}}" for i in range(len(table.groups))]
        lines += [" & ".join(["", *labels]).lstrip() + r" \\", " ".join(rules)]
    heads = [latex.escape(one_line(column.head)) for _, column in table.slots]
    return [*lines, " & ".join(["", *heads]).lstrip() + r" \\"]


# CSV ------------------------------------------------------------------------------------------------------------------


# What a spreadsheet would take for a formula, at the start of a cell; the last four are their wide forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def _harmless(text: str) -> str:
    """A cell that no spreadsheet computes: an apostrophe before the text of a formula. Numbers stay numbers."""
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", text) is not None


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _notes_of(place: CellPosition) -> str:
    cell = place.cell
    reason = [cell.verdict.reason] if cell.verdict else []
    return "; ".join(
        one_line(note) for note in [*reason, *place.row.footnotes, *cell.footnotes, *cell.paper_footnotes] if note
    )


_CSV_COLUMNS: Mapping[str, Callable[[Table, CellPosition], str]] = {
    "table": lambda table, place: table.key or table.title,
    "protocol": lambda table, place: table.protocol,
    "dataset": lambda table, place: place.dataset,
    "row": lambda table, place: one_line(place.row.label),
    "setting": lambda table, place: place.setting,
    "metric": lambda table, place: place.column.key,
    "seed": lambda table, place: "",
    "value": lambda table, place: "",
    "status": lambda table, place: place.cell.status,
    "reason": lambda table, place: one_line(place.cell.reason),
    "paper": lambda table, place: place.cell.paper or "",
    "difference": lambda table, place: _number(place.cell.difference),
    "verdict": lambda table, place: place.cell.verdict.outcome.value if place.cell.verdict else "",
    "notes": lambda table, place: _notes_of(place),
    "rank": lambda table, place: place.rank or "",
    "marks": lambda table, place: " ".join(place.cell.marks),
    "unranked": lambda table, place: place.cell.unranked,
    "images": lambda table, place: "" if place.cell.images is None else str(place.cell.images),
    "results": lambda table, place: " ".join(place.cell.sources),
}


def _csv(tables: Sequence[Table]) -> str:
    """One line a value, or one for a cell without any; values unrounded, the difference that of the mean over seeds."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for place in table.places():
            fields = {name: _harmless(visible(field(table, place))) for name, field in _CSV_COLUMNS.items()}
            writer.writerows(fields | measured for measured in _measured(place))
    return buffer.getvalue()


def _measured(place: CellPosition) -> list[dict[str, str]]:
    cell = place.cell
    seeds: Sequence[int | str] = cell.seeds or [""] * len(cell.values)
    lines = [{"seed": str(seed), "value": _number(value)} for seed, value in zip(seeds, cell.values, strict=True)]
    return lines or [{}]


# All ------------------------------------------------------------------------------------------------------------------


def _alignment(table: Table) -> list[str]:
    return ["left", *["right"] * len(table.slots)]


def _notes(page: Layout, style: _Style, all_notes: bool) -> list[str]:
    """What stands below a table, escaped, each with its mark."""
    notes = page.below(style.ranks, all_notes)
    return [f"{style.mark.format(mark)} {style.escape(text)}" if mark else style.escape(text) for mark, text in notes]


def _joined(*parts: Sequence[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"


_WRITERS: Mapping[str, Callable[[Layout, bool], str]] = {"text": _text, "markdown": _markdown, "latex": _latex}
FORMATS = (*_WRITERS, "csv")
