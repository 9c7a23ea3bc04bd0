"""Write the notes below a table, in full or in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from vqbench.reporting import verdict
from vqbench.reporting.tables.table import MARKS, Mark, Table
from vqbench.reporting.verdict import VerdictKind
from vqbench.system.console import one_line

LINES, WIDTH = 5, 110  # of the notes below a table, unless all are shown
MORE = "More notes: vqbench table --notes, or the page of vqbench report."


class Footnotes:
    """Letters for footnotes, in order of first appearance; equal texts share one."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def marks(self, texts: Sequence[str]) -> tuple[str, ...]:
        tidy = [one_line(text) for text in texts if text.strip()]
        return tuple(dict.fromkeys(self._marks.setdefault(text, _letters(len(self._marks))) for text in tidy))

    def listed(self) -> list[tuple[str, str]]:
        return [(mark, text) for text, mark in self._marks.items()]


def _letters(number: int) -> str:
    """Return the letters of a footnote: 0 is a, 25 is z, 26 is aa."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("a") + last)


def explained(marks: Sequence[Mark]) -> str:
    return ", ".join(f"{mark} {MARKS[mark]}" for mark in marks)


def shortened(
    notes: Sequence[tuple[str, str]], keep_first: bool, mark: str, cut: Callable[[str], str]
) -> list[tuple[str, str]]:
    """Shorten notes to a few; the last one says where all notes are.

    All lettered notes share one, each after its letter in the form of ``mark``. All but the first are ``cut``, and
    that one, too, unless ``keep_first``.
    """
    plain = [text for letter, text in notes if not letter]
    lettered = "; ".join(f"{mark.format(letter)} {text}" for letter, text in notes if letter)
    chosen = [*plain[:3], *([lettered] if lettered else []), *plain[3:]][: LINES - 1]
    start = 1 if keep_first else 0
    return [("", text) for text in [*chosen[:start], *map(cut, chosen[start:]), MORE]]


def cut(text: str) -> str:
    """Cut ``text`` to :data:`WIDTH` characters."""
    return text if len(text) <= WIDTH else text[: WIDTH - 2].rstrip() + " …"


def remarks(table: Table, paper: bool) -> list[str]:
    """Return the notes on the table as a whole."""
    judged = [place.cell.verdict for place in table.places() if place.cell.verdict] if paper else []
    tally = [_tally([verdict.outcome for verdict in judged])] if judged else []
    lines = [*_basis(table), *tally, *table.footnotes]
    if judged:
        keys = {place.column.key for place in table.places() if place.cell.verdict}
        labels = {column.key: column.label for column in table.columns if column.key in keys}
        lines.append(verdict.legend(labels))
        lines += [f"Paper, {table.paper}: {note}" if table.paper else note for note in table.paper_footnotes]
    return [one_line(remark) for remark in lines]


def _basis(table: Table) -> list[str]:
    """Say how many images and seeds the values rest on."""
    text = "; ".join(filter(None, (table.basis, _about_seeds(table))))
    return [f"{text[0].upper()}{text[1:]}."] if text else []


def _about_seeds(table: Table) -> str:
    counts = sorted({len(place.cell.values) for place in table.places() if not place.row.external} - {0})
    if not counts or not table.per_seed:
        return ""
    fewest, most = counts[0], counts[-1]
    if most == 1:
        return "one seed per cell: seed-to-seed variation is unknown"
    if fewest == most:
        return f"mean ± sample standard deviation over {most} seeds"
    return f"mean ± sample standard deviation over {fewest} to {most} seeds; without ±, one seed"


def _tally(outcomes: Sequence[VerdictKind]) -> str:
    counts = Counter(outcomes)
    parts = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in VerdictKind if counts[outcome])
    return f"{len(outcomes)} printed values: {parts}."
