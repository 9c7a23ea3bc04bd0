"""The printed values, the remarks on them, and the rule of the verdicts."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

from vqbench.errors import UsageError
from vqbench.reporting import paper, verdict
from vqbench.reporting.paper.tolerances import TOLERANCES
from vqbench.reporting.tables.comparison import against_paper
from vqbench.reporting.tables.render import FORMATS, render
from vqbench.reporting.tables.table import Cell, Column, ColumnGroup, Row, RowBlock, Table
from vqbench.reporting.verdict import VerdictKind, judge

DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR10", "fashion_mnist": "Fashion-MNIST"}
COLUMNS = [
    Column("l1", "l1", better="min", digits=4),
    Column("ssim", "SSIM", better="max", digits=4),
    Column("psnr", "PSNR", "dB", "max", digits=2),
    Column("lpips", "LPIPS", better="min", digits=4),
    Column("rfid", "rFID", better="min", digits=2),
]

# Table B.1 once more, typed row by row, so that a slip in the data file and one here would have to be the same.
B1 = {
    ("mnist", "VQ-VAE"): "0.0207 0.9777 26.48 0.0282 3.43",
    ("mnist", "HVQ-VAE"): "0.0202 0.9790 26.90 0.0270 3.17",
    ("mnist", "SQ-VAE"): "0.0197 0.9819 27.49 0.0256 3.05",
    ("mnist", "CVQ-VAE"): "0.0180 0.9833 27.87 0.0222 1.80",
    ("cifar10", "VQ-VAE"): "0.0527 0.8595 23.32 0.2504 39.67",
    ("cifar10", "HVQ-VAE"): "0.0533 0.8553 23.22 0.2553 41.08",
    ("cifar10", "SQ-VAE"): "0.0482 0.8779 24.07 0.2333 37.92",
    ("cifar10", "CVQ-VAE"): "0.0448 0.8978 24.72 0.1883 24.73",
}
METHODS = ["VQ-VAE", "HVQ-VAE", "SQ-VAE", "CVQ-VAE"]
ANCHORS = ["random", "unique", "probability", "closest"]


def number(table, row, dataset, metric, setting=""):
    found = paper.lookup(table, row, dataset, metric, setting)
    assert found is not None, (table, row, dataset, metric, setting)
    return float(found.printed)


def b1_table(cell=lambda dataset, method, metric: Cell(status="missing")):
    blocks = [
        RowBlock(DATASETS[name], [Row(m, [cell(name, m, c.key) for c in COLUMNS]) for m in METHODS], name)
        for name in ("mnist", "cifar10")
    ]
    return Table("Reconstruction", COLUMNS, blocks, key="small_datasets", protocol="official")


# The data -------------------------------------------------------------------------------------------------------------


def test_every_table_is_complete():
    """B.1, B.3 and B.4 have 40, 45 and 80 cells, no cell twice, and known metrics and data sets only."""
    for table, count in {"B.1": 40, "B.3": 45, "B.4": 80}.items():
        cells = paper.values(table)
        assert len(cells) == len({(c.method, c.setting, c.dataset, c.metric) for c in cells}) == count
        assert {c.table for c in cells} == {table}
        assert {c.metric for c in cells} <= set(TOLERANCES)
        assert {c.dataset for c in cells} <= set(DATASETS)
    assert set(paper.TABLES) == {"B.1", "B.2", "B.3", "B.4"}


def test_b1_is_digit_for_digit():
    """All 40 cells of B.1 are those typed a second time in this file."""
    found = {(c.dataset, c.method, c.metric): c.printed for c in paper.values("B.1")}
    expected = {
        (*row, column.key): printed
        for row, line in B1.items()
        for column, printed in zip(COLUMNS, line.split(), strict=True)
    }
    assert found == expected


def test_no_value_was_changed_since_it_was_proofread():
    """Every cell still has the digits that were proofread; a correction has to be deliberate."""
    proofread = {"B.1": "289c8bd3e76cf66a", "B.3": "846a08b1931c2e4d", "B.4": "fbe419ad0918d157"}
    for table, digest in proofread.items():
        lines = [f"{c.method} {c.setting} {c.dataset} {c.metric} {c.printed}" for c in paper.values(table)]
        assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


def test_printed_values_have_the_decimals_of_their_metric():
    """No zero at the end was lost: PSNR and rFID have two decimals, the others four."""
    for table in ("B.1", "B.3", "B.4"):
        for cell in paper.values(table):
            decimals = 2 if cell.metric in ("psnr", "rfid") else 4
            assert re.fullmatch(rf"\d+\.\d{{{decimals}}}", cell.printed), cell


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_tables_agree_with_each_other(dataset):
    """Rows A and E of B.3 are rows of B.1, rows C and D are rows of B.4, as the note on B.3 says."""
    for metric in ("l1", "psnr", "rfid"):
        assert number("B.3", "A", dataset, metric) == number("B.1", "VQ-VAE", dataset, metric)
        assert number("B.3", "E", dataset, metric) == number("B.1", "CVQ-VAE", dataset, metric)
        assert number("B.3", "C", dataset, metric) == number("B.4", "probability", dataset, metric, "offline")
        assert number("B.3", "D", dataset, metric) == number("B.4", "probability", dataset, metric, "online")


def test_rows_are_looked_up_by_their_names():
    """A row of B.3 is found by letter, label or both, one of B.4 with its setting apart or appended."""
    cells = {
        paper.lookup("B.3", row, "fashion_mnist", "psnr") for row in ("B", "+ Cosine distance", "B + Cosine distance")
    }
    assert [cell.printed for cell in cells if cell] == ["24.01"]
    assert paper.lookup("B.4", "closest", "mnist", "rfid", "offline") == paper.lookup(
        "B.4", "closest offline", "mnist", "rfid"
    )


def test_what_the_paper_does_not_have_is_none():
    """A row, data set or metric that is not printed gives None, an unknown table an error with the known ones."""
    assert paper.lookup("B.1", "FSQ", "mnist", "l1") is None
    assert paper.lookup("B.1", "VQ-VAE", "fashion_mnist", "l1") is None
    assert paper.lookup("B.1", "VQ-VAE", "mnist", "usage") is None
    with pytest.raises(UsageError, match=r"'B\.5'.*B\.1, B\.2, B\.3, B\.4"):
        paper.values("B.5")


# The footnotes --------------------------------------------------------------------------------------------------------


def off_the_line(dataset, row):
    """The distance of a row's PSNR from the line over log l1 through the other rows; their scatter and number."""
    pairs = [
        ((c.table, c.method, c.setting), math.log10(float(c.printed)), number(c.table, c.method, dataset, "psnr", s))
        for table in paper.TABLES
        for c in paper.values(table)
        if c.dataset == dataset and c.metric == "l1"
        for s in [c.setting if table == "B.4" else ""]
    ]
    others = np.array([(x, y) for key, x, y in pairs if key != row])
    [(x, y)] = [(x, y) for key, x, y in pairs if key == row]
    line = np.polyfit(others[:, 0], others[:, 1], 1)
    return y - np.polyval(line, x), (others[:, 1] - np.polyval(line, others[:, 0])).std(ddof=2), len(others)


def test_suspicious_pairs_are_off_the_line():
    """Two cells are 0.5 dB off the trend, as footnoted: over nine times the scatter of the 16 other rows."""
    for dataset, row, gap in (
        ("cifar10", ("B.4", "unique", "offline"), -0.5),
        ("mnist", ("B.1", "SQ-VAE", ""), 0.5),
    ):
        distance, scatter, others = off_the_line(dataset, row)
        assert distance == pytest.approx(gap, abs=0.05)
        assert abs(distance) > 9 * scatter
        assert others == 16


def test_footnotes_stand_where_they_are_true():
    """Each remark on single cells of B.3 and B.4 follows from the numbers that it is about."""
    worse = {"l1": 1, "lpips": 1, "rfid": 1, "ssim": -1, "psnr": -1}
    for metric, sign in worse.items():
        gap = number("B.4", "closest", "mnist", metric, "online") - number("B.4", "closest", "mnist", metric, "offline")
        assert sign * gap > 0
    for metric in ("ssim", "psnr", "lpips"):
        assert number("B.4", "random", "mnist", metric, "online") == number(
            "B.4", "probability", "mnist", metric, "online"
        )
    assert number("B.3", "C", "fashion_mnist", "rfid") > number("B.3", "B", "fashion_mnist", "rfid")
    assert number("B.3", "B", "fashion_mnist", "l1") > number("B.3", "A", "fashion_mnist", "l1")
    assert number("B.3", "B", "fashion_mnist", "psnr") > number("B.3", "A", "fashion_mnist", "psnr")
    assert number("B.3", "E", "cifar10", "l1") > number("B.3", "D", "cifar10", "l1")
    assert number("B.3", "E", "cifar10", "psnr") < number("B.3", "D", "cifar10", "psnr")
    assert number("B.3", "E", "cifar10", "rfid") < number("B.3", "D", "cifar10", "rfid")
    for anchor in ANCHORS:
        for metric in ("l1", "ssim", "psnr"):
            gap = number("B.4", anchor, "cifar10", metric, "online") - number("B.1", "CVQ-VAE", "cifar10", metric)
            assert worse[metric] * gap < 0
    marked = {
        (c.table, c.method, c.setting, c.dataset, c.metric) for t in paper.TABLES for c in paper.values(t) if c.footnote
    }
    marked = {cell for cell in marked if cell[0] != "B.2"}  # whose footnotes say where else a value is printed
    assert ("B.4", "unique", "offline", "cifar10", "psnr") in marked
    assert len(marked) == 3 + 4 + 17


def test_every_table_says_that_no_spread_is_printed():
    """Each of the tables notes that every cell is one run."""
    for table in paper.TABLES:
        assert "One run per cell; no spread is printed." in paper.notes(table)


# The verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", TOLERANCES)
@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_no_result_is_close_to_both_ends_of_the_claim(metric, dataset):
    """Three tolerances around either value are less than the distance from VQ-VAE, or VQGAN, to CVQ-VAE."""
    large = {"mnist": "ffhq", "cifar10": "imagenet"}[dataset]
    ends = ("B.2", "VQGAN", large) if metric == "usage" else ("B.1", "VQ-VAE", dataset)
    vq, cvq = number(*ends, metric), number(ends[0], "CVQ-VAE", ends[2], metric)
    widest = max(TOLERANCES[metric].around(vq), TOLERANCES[metric].around(cvq))
    assert verdict.CLOSE_FACTOR * widest < abs(vq - cvq)


@pytest.mark.parametrize("metric", TOLERANCES)
@pytest.mark.parametrize("side", [-1, 1])
def test_one_seed_is_judged_by_the_tolerance_alone(metric, side):
    """Up to one tolerance REPRODUCED, up to three CLOSE, beyond DIFFERS, on both sides of the printed value."""
    tolerance = side * TOLERANCES[metric].around(0.5)
    outcomes = {steps: judge(metric, [0.5 + steps * tolerance], "0.50").outcome for steps in (0, 1, 1.01, 3, 3.01)}
    assert outcomes == {
        0: VerdictKind.REPRODUCED,
        1: VerdictKind.REPRODUCED,
        1.01: VerdictKind.CLOSE,
        3: VerdictKind.CLOSE,
        3.01: VerdictKind.DIFFERS,
    }


def test_an_interval_of_seeds_can_reproduce():
    """2 tolerances away is CLOSE for one seed, and REPRODUCED where seeds scatter as far as the printed value."""
    assert judge("psnr", [20.4], "20.00").outcome is VerdictKind.CLOSE
    assert judge("psnr", [20.2, 20.4, 20.6], "20.00") == verdict.Verdict(
        VerdictKind.REPRODUCED, "inside the 95 % interval of 3 seeds"
    )
    assert judge("psnr", [20.39, 20.4, 20.41], "20.00").outcome is VerdictKind.CLOSE


def test_seeds_that_scatter_wildly_reproduce_nothing():
    """A wide interval would hold any printed value; far away it decides nothing, near it is CLOSE at most."""
    far = judge("psnr", [19.0, 23.0], "20.00")
    assert far.outcome is VerdictKind.NOT_COMPARABLE
    assert "scatter too much" in far.reason
    assert judge("psnr", [18.4, 22.4], "20.00").outcome is VerdictKind.CLOSE


def test_far_and_certain_differs():
    """Seeds that agree with each other but not with the printed value give DIFFERS."""
    assert judge("rfid", [5.0, 5.01, 5.02], "1.80").outcome is VerdictKind.DIFFERS


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_differs(value):
    """NaN compares false with everything and must not slip through as reproduced."""
    assert judge("psnr", [value], "20.00").outcome is VerdictKind.DIFFERS
    assert judge("psnr", [value, 20.0], "20.00").outcome is VerdictKind.DIFFERS


def test_reasons_not_to_compare_go_before_the_numbers():
    """A reduced run is not comparable even where it hits the printed value; without values, nothing was run."""
    assert judge("l1", [0.0207], "0.0207", "reduced run").outcome is VerdictKind.NOT_COMPARABLE
    assert judge("l1", [], "0.0207", "reduced run").outcome is VerdictKind.NOT_RUN
    assert judge("perplexity", [100.0], "100").outcome is VerdictKind.NOT_COMPARABLE


# The comparison -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_with_nothing_run_all_of_b1_is_shown(form):
    """Every format shows all of the 40 printed values digit for digit, with NOT RUN."""
    page = render(against_paper(b1_table(), "B.1"), form, paper=True)
    table = page.split("Bold: ")[0].split("40 printed values")[0]
    assert len(re.findall(r"\bNOT RUN\b", table)) == 40
    shown = re.findall(r"(?<![\d.+])\d+\.\d{2,4}(?![\d.])", re.sub(r'"[^"]*"', "", table))  # quoted: notes of the CSV
    by_row = [value for (_, _), line in B1.items() for value in line.split()]
    assert shown == by_row


def test_tally_counts_every_printed_value():
    """The number of each verdict is shown below the table."""
    table = b1_table(lambda d, m, k: Cell([number("B.1", m, d, k)]) if m != "HVQ-VAE" else Cell(status="missing"))
    page = render(against_paper(table, "B.1"), paper=True)
    assert "40 printed values: 30 REPRODUCED, 10 NOT RUN." in page


def test_rows_that_the_paper_lacks_stay_as_they_are():
    """FSQ has no printed value: no verdict, and no line for one."""
    rows = [Row(m, [Cell([0.02])]) for m in ("VQ-VAE", "FSQ")]
    table = against_paper(Table("T", COLUMNS[:1], [RowBlock("MNIST", rows, "mnist")]), "B.1")
    assert [cell.verdict is None for row in table.blocks[0].rows for cell in row.cells] == [False, True]
    assert render(table, paper=True).count("· paper") == 1


def test_a_cells_own_reason_goes_before_the_tables():
    """FID from few images says so, while the rest of the reduced run has the reason of the run."""
    cells = [Cell([0.02]), Cell([1.0], not_comparable="FID from 500 images")]
    table = Table("T", [COLUMNS[0], COLUMNS[4]], [RowBlock("MNIST", [Row("VQ-VAE", cells)], "mnist")])
    judged = against_paper(table, "B.1", not_comparable="reduced run").blocks[0].rows[0].cells
    assert [cell.verdict.reason for cell in judged if cell.verdict] == ["reduced run", "FID from 500 images"]


def test_settings_side_by_side_find_their_own_values():
    """With offline and online as groups, each cell of B.4 is compared with the value of its setting."""
    columns = [COLUMNS[0]]
    blocks = [RowBlock("MNIST", [Row(a, [Cell([0.02]), Cell([0.02])]) for a in ANCHORS], "mnist")]
    groups = [ColumnGroup("offline"), ColumnGroup("online")]
    table = against_paper(Table("T", columns, blocks, groups=groups, group_by="setting"), "B.4")
    printed = [[cell.paper for cell in row.cells] for row in table.blocks[0].rows]
    assert printed == [["0.0195", "0.0185"], ["0.0191", "0.0186"], ["0.0192", "0.0186"], ["0.0186", "0.0187"]]


def test_data_sets_side_by_side_find_their_own_values():
    """With data sets as groups, each cell of B.3 is compared with the value of its data set."""
    groups = [ColumnGroup(DATASETS[name], name) for name in DATASETS]
    blocks = [RowBlock("", [Row(letter, [Cell([0.02])] * 3) for letter in "ABCDE"])]
    table = against_paper(Table("T", [COLUMNS[0]], blocks, groups=groups), "B.3")
    assert [cell.paper for cell in table.blocks[0].rows[1].cells] == ["0.0200", "0.0509", "0.0378"]


def test_suspicious_cells_are_footnoted_where_the_paper_is_shown():
    """The remark on SQ-VAE's l1 appears with the printed values, and not without them."""
    table = against_paper(b1_table(), "B.1")
    assert "0.0197 [a]" in render(table, paper=True)
    assert "SSIM and PSNR equal those of closest, online" in " ".join(render(table, paper=True).split())
    assert "SSIM and PSNR equal" not in render(table)


def test_data_files_have_a_readme_that_counts_them_right():
    """The numbers of cells in the README are those in the files."""
    readme = (Path(paper.__file__).parent / "README.md").read_text(encoding="utf-8")
    for table in paper.TABLES:
        name = table.lower().replace(".", "")
        assert re.search(rf"`{name}\.csv`.*\| {len(paper.values(table))} \|", readme)
