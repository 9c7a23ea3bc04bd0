"""Assemble the tables of a suite from the records of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vqbench.planning.plan import Plan
from vqbench.reporting import paper as paper_values
from vqbench.reporting.column_tests import with_claims
from vqbench.reporting.paper.conditions import not_comparable
from vqbench.reporting.tables.basis import Basis
from vqbench.reporting.tables.captions import caption
from vqbench.reporting.tables.cells import EXTRA, SELECTION, SELECTION_NOTE, CellReader
from vqbench.reporting.tables.comparison import against_paper
from vqbench.reporting.tables.external.comparisons import comparison_lines
from vqbench.reporting.tables.external.rows import ExternalRows
from vqbench.reporting.tables.marks import about_marks, mark
from vqbench.reporting.tables.ranking_lines import ranking_lines
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.tables.table import Column, ColumnGroup, Row, RowBlock, Table
from vqbench.reporting.tables.training_facts import training_facts
from vqbench.store.results import ResultStore


def tables(plan: Plan, stores: Sequence[ResultStore], paper: bool = False) -> list[Table]:
    """Return one table per measuring protocol of the suite.

    With ``paper``, printed values and verdicts are part of it.

    The first of ``stores`` that has a record counts. Failed, unfinished and missing runs stay visible in their cells.
    With ``paper``, a run without a record may be replaced by one of another precision, with a footnote.
    """
    return tables_of(StoredRuns(plan, stores, paper), paper)


def tables_of(stored: StoredRuns, paper: bool = False) -> list[Table]:
    """Like :func:`tables`, from records that were read already."""
    plan = stored.plan
    ours = [with_claims(_TableBuilder(stored, name).table(), stored.images_of) for name in plan.protocols()]
    if not (paper and plan.suite.paper):
        return ours
    return [_compared(plan.suite.paper, table, stored) for table in ours]


def _compared(number: str, table: Table, stored: StoredRuns) -> Table:
    """Add the paper's values, verdicts and ranking checks to ``table``."""
    reason = not_comparable(stored.plan, table.protocol)
    judged = against_paper(table, number, reason)
    ranking = ranking_lines(stored, table.protocol, reason)
    quoted = [line for dataset in stored.plan.datasets for line in paper_values.elsewhere(number, dataset)]
    return replace(judged, footnotes=[*judged.footnotes, *ranking, *quoted])


class _TableBuilder:
    """Builds the table of one measuring protocol."""

    def __init__(self, stored: StoredRuns, protocol: str) -> None:
        self.plan, self.stored, self.protocol = stored.plan, stored, protocol
        self.basis = Basis(self.plan, protocol)
        self.reader = CellReader(stored, protocol)
        self.external = ExternalRows(stored, protocol)
        chosen = self.plan.suite.table.columns or [*self.plan.suite.metrics]
        self.columns = [self._column(name) for name in chosen]

    def _column(self, name: str) -> Column:
        if name in EXTRA:
            return EXTRA[name]
        info = self.plan.metrics[name]
        unranked = f"{info.label} is part of the budget" if info.rate else self.basis.unranked(info)
        better: Any = info.better
        return Column(name, info.label, info.unit, better, info.digits, unranked, info.by_codebook)

    def table(self) -> Table:
        suite = self.plan.suite
        by_dataset = suite.table.group == "dataset"
        side_by_side = suite.table.layout == "side_by_side"
        across = self._distinct("group") if side_by_side else [None]
        field = "dataset" if side_by_side or by_dataset else "group"  # one block for each of its values
        down = [None] if side_by_side and by_dataset else self._distinct(field)
        marked = [self._block(key, across, field) for key in down]
        blocks = [block for block, _ in marked if block.rows]
        table = Table(
            title=suite.heading,
            columns=self.columns,
            blocks=blocks,
            caption=[*caption(self.stored, self.protocol), *self.external.caption()],
            groups=[self._column_group(key) for key in across if key is not None],
            group_by="dataset" if by_dataset else "setting",
            key=suite.name,
            protocol=self.protocol,
            basis=self.basis.line(),
            footnotes=[
                *self.basis.too_few([column.key for column in self.columns]),
                *([SELECTION_NOTE] if SELECTION in self.columns else []),
                *(note for data in self.plan.datasets.values() for note in data.notes),
                *about_marks([(block.label, notes) for block, notes in marked], self.columns),
            ],
        )
        return replace(table, footnotes=[*table.footnotes, *comparison_lines(table, self.external, self.stored)])

    def _distinct(self, field: str) -> list[Any]:
        return list(dict.fromkeys(getattr(entry, field) for entry in self.plan.entries))

    def _setting(self, group: Any) -> str:
        """Return the name of a group: as printed if the paper has one, else its value."""
        settings = {entry.paper_setting for entry in self.plan.entries if entry.group == group}
        only = settings.pop() if len(settings) == 1 else None
        return only or self.plan.suite.table.group_text(group)

    def _group_label(self, group: Any) -> str:
        return self.plan.datasets[group].title if self.plan.suite.table.group == "dataset" else self._setting(group)

    def _column_group(self, group: Any) -> ColumnGroup:
        return ColumnGroup(self._group_label(group), group if group in self.plan.datasets else self._setting(group))

    def _block(self, key: Any, across: Sequence[Any], field: str) -> tuple[RowBlock, Mapping[str, list[str]]]:
        """Return the marked rows under one heading, and notes that explain the marks."""
        here = [entry for entry in self.plan.entries if key is None or getattr(entry, field) == key]
        rows, facts = [], []
        for label in dict.fromkeys(entry.label for entry in here):
            entries = [entry for entry in here if entry.label == label]
            groups = [[entry for entry in entries if group is None or entry.group == group] for group in across]
            cells = [self.reader.cell(each, column) for each in groups for column in self.columns]
            facts.append([training_facts(self.stored, each) for each in groups])
            first = entries[0]
            rows.append(Row(label, cells, first.upper_bound, first.batch_dependent, paper=first.paper_row or ""))
        marked = mark(rows, facts, self.columns)
        here_by_group = [[entry for entry in here if group is None or entry.group == group] for group in across]
        shown = [*marked.rows, *self.external.rows(here_by_group, self.columns)]
        if key is None:
            return RowBlock("", shown), marked.notes
        label = self.plan.datasets[key].title if field == "dataset" else self._setting(key)
        return RowBlock(label, shown, str(key)), marked.notes
