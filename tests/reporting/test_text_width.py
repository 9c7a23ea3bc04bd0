"""Tables in a terminal: every line fits, no row is wrapped, nothing is lost."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_suite import vqbench
from vqbench.planning import loading
from vqbench.reporting.tables import assemble, captions
from vqbench.reporting.tables.render import render
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.tables.table import Cell, Column, ColumnGroup, Row, RowBlock, Table


def wide(columns: int, groups: int = 0, paper: bool = False) -> Table:
    """A table whose cell in column c of row r is 100 r + c, each number once."""
    heads = [Column(f"m{i}", f"Metric {i}", "dB", "max", digits=0) for i in range(columns)]
    count = columns * max(groups, 1)
    rows = [
        Row(
            f"row {r}",
            [
                Cell([100.0 * r + c], paper="1" if paper and not c else None, footnotes=["why"] * (c == 1))
                for c in range(count)
            ],
        )
        for r in range(1, 4)
    ]
    return Table(
        "A title of words " * 9,
        heads,
        [RowBlock("Data", rows)],
        groups=[ColumnGroup(f"group {g}") for g in range(groups)],
    )


@given(st.integers(1, 24), st.integers(0, 3), st.integers(40, 160))
def test_every_line_fits_and_every_cell_is_there_once(columns: int, groups: int, width: int) -> None:
    """At any width, no line is longer, and each value is printed once, in the row of its label."""
    shown = render(wide(columns, groups), width=width)
    assert max(map(len, shown.splitlines())) <= width
    for row in (1, 2, 3):
        lines = [line for line in shown.splitlines() if line.startswith(f"row {row}")]
        numbers = [int(word) for line in lines for word in re.findall(r"(?<![\d])[1-9]\d\d(?!\d)", line)]
        assert numbers == [100 * row + c for c in range(columns * max(groups, 1))]


def test_a_table_that_fits_is_one_block() -> None:
    """Heads stay on one line and nothing is repeated where there is room; heads become tall before columns fold."""
    table = wide(4)
    one, tall, folded = (render(table, width=width) for width in (110, 50, 40))
    assert "Metric 0 [dB] ↑" in one
    assert [text.count("row 1") for text in (one, tall, folded)] == [1, 1, 2]
    assert "Metric 0  Metric 1" in tall
    assert folded.count("Data\n") == 2


def test_groups_stay_together() -> None:
    """Columns of one group are folded as one, as long as a group fits."""
    blocks = render(wide(3, groups=3), width=60).split("\n\n")[1:-1]
    assert [block.count("group") for block in blocks] == [3, 3, 3]


def test_parts_without_a_value_are_left_out_of_a_block() -> None:
    """A block of columns without printed values has no empty lines for them."""
    first, *others = render(wide(12, paper=True), paper=True, width=60).split("\n\n")[1:-1]
    assert "· paper" in first
    assert others
    assert not [block for block in others if "· " in block]


@pytest.mark.parametrize("width", [60, 80, 110])
def test_cut_notes_keep_their_brackets(width: int) -> None:
    """Lettered notes that share a line each begin with their mark as the table shows it, and are cut between words."""
    table = wide(3)
    row = Row("row 9", [Cell([1.0], footnotes=[f"reason {i} is {'long ' * 12}"]) for i in range(3)])
    table = replace(table, blocks=[RowBlock("Data", [row])], footnotes=["one note"] * 4)
    below = " ".join(render(table, width=width).split("\n\n")[-1].split())
    assert "[a] reason 0 is" in below
    assert "; [b] reason 1 is" in below
    assert "long …" in below
    assert max(map(len, render(table, width=width).splitlines())) <= width


def test_the_command_takes_the_width_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`table` fits the terminal; other formats do not depend on it."""
    words = ("table", "generate_quick", "--store", tmp_path, "--results", tmp_path / "none")
    longest, others = {}, {}
    for width in (80, 150):
        monkeypatch.setenv("COLUMNS", str(width))
        assert vqbench(*words) == 0
        longest[width] = max(map(len, capsys.readouterr().out.splitlines()))
        for form in ("markdown", "csv", "latex"):
            assert vqbench(*words, "--format", form) == 0
            others.setdefault(form, set()).add(capsys.readouterr().out)
    assert longest[80] <= 80 < longest[150] <= 150
    assert [len(texts) for texts in others.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (100, "the first 100 test images"),
        (5000, "the first 5,000 test images, or all there are (1,000 of Fashion-MNIST 5k)"),
        (20_000, "all test images (1,000 of Fashion-MNIST 5k, 10,000 of MNIST)"),
    ],
)
def test_a_caption_counts_the_images_that_exist(most: int, said: str) -> None:
    """A reduced copy names as many test images as its data sets have."""
    from vqbench.planning.overrides import Override

    plan = loading.load("quick", [], [Override("datasets", ["fashion_mnist_5k", "mnist"])], test_images=most)
    assert f"Reduced: {said}. " in " ".join(captions.caption(StoredRuns(plan, []), plan.protocols()[0]))
    assert assemble.tables(plan, [])


def test_a_caption_names_the_rows_that_were_trained_differently() -> None:
    """Settings that are not those of the training protocol are named, with the rows that have them, commas or not."""
    from vqbench.planning.overrides import Override

    changed = {"clean": {"epochs": 2, "batch_size": 64, "learning_rate": 1e-3, "variance": "unit"}}
    rows = [{"vq": {}}, {"cvq": {}}, {"vq_ema": {}, "label": "VQ, EMA", "train": changed}]
    plan = loading.load("quick", [], [Override("quantizers", rows)])
    same = "clean ({} epochs, batch 64, learning rate 0.001, float32"
    shown = " ".join(captions.caption(StoredRuns(plan, []), plan.protocols()[0]))
    assert f'Trained under {same.format(6)}); {same.format(2)}, variance unit): "VQ, EMA". Protocol' in shown
    plan = loading.load("quick", [], [Override("quantizers", rows[1:])])
    shown = " ".join(captions.caption(StoredRuns(plan, []), plan.protocols()[0]))
    assert f"Trained under {same.format(6)}): cvq; {same.format(2)}, variance unit)" in shown, "neither is usual"
