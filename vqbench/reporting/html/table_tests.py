"""The notes of a table and the tests of its columns, as a page lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vqbench.reporting.column_tests import ColumnTest, judge_columns, no_comparison
from vqbench.reporting.html.suite_view import SuiteView
from vqbench.reporting.tables.formats.layout import layout
from vqbench.reporting.tables.table import Table


@dataclass(frozen=True)
class TableTests:
    """A table's notes and the tests of its columns."""

    table: Table
    remarks: Sequence[str]
    notes: Sequence[str]
    tests: Sequence[ColumnTest]
    claims: int  # number of columns in which a row is ahead of all others
    no_comparison: str  # why there are no tests; empty if there are


def table_tests(suite: SuiteView, table: Table) -> TableTests:
    """Judge the columns of ``table`` and collect the notes below it."""
    tests = judge_columns(table, suite.images)
    laid = layout(table, any(place.cell.paper is not None for place in table.places()))
    return TableTests(
        table,
        [*filter(None, [laid.marks]), *laid.remarks],
        [note for _, note in laid.notes],
        list(tests.values()),
        sum(test.claim == "significant" for test in tests.values()),
        "" if tests else no_comparison(table),
    )
