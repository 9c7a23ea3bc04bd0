"""Claims about the best rows of a table, on simulated values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vqbench.reporting.column_tests import judge_columns, no_comparison, with_claims
from vqbench.reporting.tables.render import render
from vqbench.reporting.tables.table import Cell, Column, Row, RowBlock, Table


def table_of(*rows: list[list[float]], better: str = "min", spread: float = 1.0) -> tuple[Table, dict]:
    """A table of one metric, each row (seeds, images) of values, and these as a page finds them."""
    table_rows, images = [], {}
    for i, row in enumerate(rows):
        runs = {seed: f"{i}-{seed}" for seed in range(len(row))}
        images |= {runs[seed]: np.array(each) for seed, each in enumerate(row)}
        table_rows.append(Row(f"row {i}", [Cell([float(np.mean(each)) for each in row], seeds=list(runs), runs=runs)]))
    column = Column("l1", "l1", better=better, digits=6)  # type: ignore[arg-type]
    return Table("T", [column], [RowBlock("data", table_rows)], protocol="clean"), images


def judged(*rows: list[list[float]]) -> str:
    table, images = table_of(*rows)
    return judge_columns(table, lambda key, name: images[key])[0, 0].claim


def test_one_seed_makes_no_claim_however_large_the_difference() -> None:
    """A thousand images that agree on two trained models allow no claim about another seed."""
    values = np.random.default_rng(0).normal(size=1000)
    assert judged([values], [values + 5]) == "one seed"
    assert judged([values + 0.01 * s for s in range(3)], [values + 5 + 0.01 * s for s in range(3)]) == "significant"


def test_what_seeds_scatter_is_no_claim() -> None:
    """If seeds differ as much as methods do, no row is ahead, although every image separates the models."""
    values = np.random.default_rng(0).normal(size=500)
    first, second = ([values + shift for shift in shifts] for shifts in ((0.0, 0.3, -0.3), (0.4, -0.1, 0.2)))
    assert judged(first, second) == "open"


def test_bold_is_rarely_wrong() -> None:
    """Of 250 tables of four equal methods, at most 5 % have a row that is reported as ahead of all others."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(250):
        hard = rng.normal(size=30)
        rows = [[hard + rng.normal(scale=0.3) + rng.normal(scale=0.5, size=30) for _ in range(4)] for _ in range(4)]
        wrong += judged(*rows) == "significant"
    assert wrong / 250 <= 0.05


def test_the_reason_for_no_comparison_is_the_true_one() -> None:
    """Too few images, one row, equal values, other budgets and no direction are told apart."""
    table, _ = table_of([[1.0, 2.0]], [[3.0, 4.0]])
    few = "4 test images, and rows are compared from 100 on"
    assert no_comparison(replace(table, columns=[replace(table.columns[0], unranked=few)])) == few
    assert no_comparison(table_of([[1.0, 2.0]])[0]) == "fewer than two rows have values"
    assert "equal values" in no_comparison(table_of([[1.0, 2.0]], [[2.0, 1.0]])[0])
    assert no_comparison(replace(table, columns=[replace(table.columns[0], better=None)])).startswith("no column")
    first, second = table.blocks[0].rows
    other = replace(second, cells=[replace(second.cells[0], unranked="other budget")])
    shown = no_comparison(replace(table, blocks=[RowBlock("data", [first, other])]))
    assert shown == "fewer than two rows compete, the others are not ranked (other budget)"


def three_seeds(gap: float) -> tuple[Table, dict]:
    """Two rows of three seeds, apart by ``gap``."""
    return table_of(*[[[0.5 + shift + 0.001 * seed] for seed in range(3)] for shift in (0.0, gap)])


def test_a_lead_beyond_chance_is_marked_alike_in_every_format() -> None:
    """The best value has a dagger where its row is ahead beyond chance, and one line says what it means."""
    table, images = three_seeds(0.1)
    marked = with_claims(table, lambda key, name: images.get(key))
    assert [place.cell.significant for place in marked.places()] == [True, False]
    for style, mark in (("text", "[†]"), ("markdown", "<sup>†</sup>"), ("latex", r"\textdagger{}"), ("csv", "†")):
        assert mark in render([marked], style)
        assert mark not in render([table], style)
    for style in ("text", "markdown", "latex"):
        assert "ahead of every other ranked row beyond chance" in render([marked], style).replace("\n", " ")


def test_a_lead_by_chance_is_best_and_unmarked() -> None:
    """Where the seeds scatter more than the rows differ, or one seed is all, no format has the dagger."""
    for table, images in (table_of([[0.5], [0.9]], [[0.6], [0.8]]), table_of([[0.5]], [[0.9]])):
        marked = with_claims(table, lambda key, name, images=images: images.get(key))  # type: ignore[misc]
        assert not any(place.cell.significant for place in marked.places())
        assert "†" not in render([marked], "text")
