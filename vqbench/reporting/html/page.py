"""From what was gathered to one HTML file: everything that comes from outside is escaped by the templates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import vqbench
from vqbench.reporting.column_tests import ColumnTest, contests
from vqbench.reporting.html import codebooks, figures, images
from vqbench.reporting.html.gather import Gathered, RunView, knobs
from vqbench.reporting.html.numbers import numbers
from vqbench.reporting.tables.layout import Layout, Piece, TextLine, layout
from vqbench.reporting.tables.table import Cell, Column, Table

BUDGET = 17_000_000  # bytes of images that a page may hold, whatever the number of runs
STATES = ("done", "partly", "failed", "missing")
MARKS = {"significant": "best", "open": "lead", "one seed": "lead", "level": "lead", "not comparable": "lead"}


@dataclass(frozen=True)
class ShownCell:
    """One cell of the HTML table."""

    piece: Piece
    value: float | None = None  # to sort by, at full precision
    mark: str = ""  # best: significant · lead: the best value, without a claim
    runs: Sequence[RunView] = ()
    status: str = ""


@dataclass(frozen=True)
class ShownLine:
    """One line of the HTML table."""

    kind: str
    label: Piece
    cells: Sequence[ShownCell]
    ceiling: bool = False


@dataclass(frozen=True)
class ShownTable:
    """A table with what may be said about it."""

    table: Table
    columns: Sequence[Column]
    heads: Sequence[tuple[str, int]]  # of groups: label, columns
    blocks: Sequence[tuple[str, Sequence[ShownLine]]]
    remarks: Sequence[str]
    notes: Sequence[tuple[str, str]]
    contests: Sequence[ColumnTest]
    compared: int  # comparisons that were corrected together
    claims: int  # columns in which a row is ahead of all others


def page(gathered: Gathered) -> str:
    """The whole page."""
    keys = figures.legend(gathered)
    tables = [_table(gathered, table) for table in gathered.tables]
    protocols = gathered.plan.protocols()
    room = BUDGET // max(1, len(gathered.runs))
    datasets = [
        {
            "name": name,
            "title": info.title,
            "codebook": figures.curves(gathered, name, keys, codebook=True),
            "curves": figures.curves(gathered, name, keys, codebook=False),
            "trade_offs": [(each, figures.trade_offs(gathered, name, each, keys)) for each in protocols],
            "books": codebooks.books(gathered.of(name), room * 2 // 5),
            "sets": images.sets(gathered.of(name), room * 3 // 5),
            "entropy_unknown": [view.name for view in gathered.of(name) if view.record and view.entropy is None],
        }
        for name, info in gathered.plan.datasets.items()
    ]
    states = {state: [view for view in gathered.runs if view.state == state] for state in STATES}
    return write(
        "suite.html.j2",
        gathered=gathered,
        suite=gathered.plan.suite,
        title=(gathered.tables[0].title if gathered.tables else gathered.plan.suite.name),
        caption=gathered.tables[0].caption if gathered.tables else (),
        keys=keys,
        tables=tables,
        datasets=datasets,
        states=states,
        knobs=knobs(gathered.plan),
    )


def data(gathered: Gathered) -> dict[str, Any]:
    """The page's numbers, with nothing to look at."""
    return numbers(gathered, [contests(table, gathered.images) for table in gathered.tables])


# The table ------------------------------------------------------------------------------------------------------------


def _table(gathered: Gathered, table: Table) -> ShownTable:
    found = contests(table, gathered.images)
    paper = any(place.cell.paper is not None for place in table.places())
    laid = layout(table, paper)
    blocks: list[tuple[str, list[ShownLine]]] = []
    for line, place in _placed(table, laid):
        if line.kind == "block":
            blocks.append((line.label.text, []))
        else:
            if not blocks:
                blocks.append(("", []))
            blocks[-1][1].append(_line(gathered, table, line, place, found))
    return ShownTable(
        table,
        [column for _, column in table.slots],
        [(group.label, len(table.columns)) for group in table.groups],
        blocks,
        [*filter(None, [laid.marks]), *laid.remarks],
        laid.notes,
        list(found.values()),
        sum(len(contest.comparisons) for contest in found.values()),
        sum(contest.claim == "significant" for contest in found.values()),
    )


def _placed(table: Table, laid: Layout) -> list[tuple[TextLine, tuple[int, int]]]:
    """Every line with the positions of the block and row that it belongs to."""
    placed = []
    labelled = any(line.kind == "block" for line in laid.lines)
    block, row = (-1 if labelled else 0), -1
    for line in laid.lines:
        if line.kind == "block":
            block, row = block + 1, -1
        elif line.kind == "row":
            row += 1
        placed.append((line, (block, row)))
    return placed


def _line(
    gathered: Gathered,
    table: Table,
    line: TextLine,
    place: tuple[int, int],
    found: Mapping[tuple[int, int], ColumnTest],
) -> ShownLine:
    row = table.blocks[place[0]].rows[place[1]]
    if line.kind == "part":
        return ShownLine("part", line.label, [ShownCell(piece, status=_word(piece)) for piece in line.pieces])
    cells = []
    for slot, (piece, cell) in enumerate(zip(line.pieces, row.cells, strict=True)):
        contest = found.get((place[0], slot))
        mark = MARKS[contest.claim] if contest and piece.rank == "best" else ""
        cells.append(ShownCell(piece, cell.mean, mark, _runs(gathered, cell), cell.status))
    return ShownLine("row", line.label, cells, row.ceiling)


def _runs(gathered: Gathered, cell: Cell) -> list[RunView]:
    return [gathered.by_key[key] for key in dict.fromkeys(cell.runs.values())]


def _word(piece: Piece) -> str:
    """A verdict as a style's name."""
    return piece.text.lower().replace(" ", "-") if piece.text.isupper() else ""


# The file -------------------------------------------------------------------------------------------------------------


def write(template: str, **context: Any) -> str:
    """The HTML of one template. Styles and script stand in the page; the policy allows these two alone, by digest."""
    style, script = (_source(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    # The two are our own files, and closing tags are all that could end their elements.
    from markupsafe import Markup

    own = {"style": Markup(style), "script": Markup(script), "policy": policy, "version": vqbench.__version__}
    page: str = _environment().get_template(template).render(**own, **context)
    return page


def _source(name: str) -> str:
    return (resources.files("vqbench.reporting.html") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"significant": _significant, "number": _number, "p": _p_value, "setting": _setting}
    return environment


def _significant(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.10g}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _setting(value: Any) -> str:
    """A setting as a suite's file would say it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
