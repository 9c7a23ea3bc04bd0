"""The model of tables and how they look in the four formats."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.comparison import against_paper
from vqbench.reporting.tables.formats.layout import layout
from vqbench.reporting.tables.render import FORMATS, render
from vqbench.reporting.tables.table import Cell, Column, ColumnGroup, Row, RowBlock, Table, ranks
from vqbench.store.value_name import Sampling

L1 = Column("l1", "l1", better="min", digits=4)
PSNR = Column("psnr", "PSNR", "dB", "max", digits=2)
USAGE = Column("usage", "Usage", "%", "max", digits=1)
STEPS = Column("steps", "Steps", digits=0)


def example_table():
    rows = [
        Row("identity", [Cell([0.0]), Cell([99.0])], upper_bound=True),
        Row("VQ-VAE", [Cell([0.02071, 0.02075], seeds=[1, 2]), Cell([26.4, 26.5], seeds=[1, 2])]),
        Row("SQ-VAE", [Cell(status="failed", reason="loss became NaN\nat step 9"), Cell(status="missing")]),
        Row("CVQ-VAE", [Cell([0.0180, 0.01804], seeds=[1, 2]), Cell([27.9, 27.8], seeds=[1, 2])]),
    ]
    return Table(
        "Recon_struction at 100 %",
        [L1, PSNR],
        [RowBlock("MNIST", rows, "mnist")],
        caption=["vqbench table small_datasets --paper"],
        key="small_datasets",
        protocol="official",
    )


def single(column, *values, **row):
    return RowBlock("", [Row(f"m{i}", [Cell([value])], **row) for i, value in enumerate(values)])


# The model ------------------------------------------------------------------------------------------------------------


def test_heads_have_units_and_arrows():
    """The head says label, unit and which way is better, and leaves out what a column lacks."""
    assert [column.head for column in (L1, PSNR, USAGE, STEPS)] == ["l1 ↓", "PSNR [dB] ↑", "Usage [%] ↑", "Steps"]


def test_values_have_fixed_decimals():
    """Zeros at the end stay, and a negative number that rounds to zero has no sign."""
    assert (L1.shown(0.02), PSNR.shown(27.0), L1.shown(-1e-9), STEPS.shown(12.4)) == ("0.0200", "27.00", "0.0000", "12")


def test_a_cell_has_values_if_and_only_if_it_is_ok():
    """A failed cell cannot carry a number, and a cell that is ok cannot be empty."""
    cases: list[dict] = [{"values": [1.0], "status": "failed"}, {"values": []}, {"values": [1.0], "seeds": [1, 2]}]
    for arguments in cases:
        with pytest.raises(UsageError, match="table's cell"):
            Cell(**arguments)


def test_a_row_of_the_wrong_width_is_refused():
    """A row with a cell too few would shift numbers under wrong heads, so the table is not built."""
    with pytest.raises(UsageError, match="row 'VQ-VAE' has 1 cells for 4 columns"):
        Table(
            "T", [L1, PSNR], [RowBlock("", [Row("VQ-VAE", [Cell([1.0])])])], groups=[ColumnGroup("a"), ColumnGroup("b")]
        )


def test_best_and_second_follow_the_direction():
    """Where less is better the least is best, where more is better the most."""
    assert ranks(single(L1, 3.0, 1.0, 2.0), 0, L1) == {1: "best", 2: "second"}
    assert ranks(single(PSNR, 3.0, 1.0, 2.0), 0, PSNR) == {0: "best", 2: "second"}


def test_values_that_look_equal_share_their_rank():
    """Two values that round to the same number are both best, and the next one is second."""
    assert ranks(single(L1, 0.01801, 0.01799, 0.02), 0, L1) == {0: "best", 1: "best", 2: "second"}
    assert ranks(single(L1, 0.01, 0.02, 0.02), 0, L1) == {0: "best", 1: "second", 2: "second"}


def test_rows_that_do_not_compete_are_not_ranked():
    """Upper bounds, rows without a value, NaN, columns without a direction and single rows get no rank."""
    cells = [[0.0], [2.0], [float("nan")], [1.0]]
    rows = [Row(str(i), [Cell(values)], upper_bound=i == 0) for i, values in enumerate(cells)]
    rows.append(Row("missing", [Cell(status="missing")]))
    assert ranks(RowBlock("", rows), 0, L1) == {1: "second", 3: "best"}
    assert ranks(RowBlock("", rows), 0, STEPS) == {}
    assert ranks(RowBlock("", rows[:2]), 0, L1) == {}


@given(st.lists(st.floats(0, 100), min_size=2, max_size=12), st.sampled_from(["min", "max"]))
def test_no_row_is_shown_better_than_the_best(values, better):
    """No row shows a better number than one marked best, none between best and second; if all are equal, none is."""
    column = Column("x", "x", better=better, digits=1)
    shown = [float(column.shown(value)) * (1 if better == "min" else -1) for value in values]
    found = ranks(single(column, *values), 0, column)
    best = {shown[i] for i, rank in found.items() if rank == "best"}
    second = {shown[i] for i, rank in found.items() if rank == "second"}
    contested = len(set(shown)) > 1
    assert best == ({min(shown)} if contested else set())
    assert second == set(sorted(set(shown))[1:2])


def test_the_difference_shown_is_that_of_the_numbers_shown():
    """The shown difference is that of the shown and the printed value."""
    cell = Cell([0.01856], paper="0.0180")
    assert (cell.shown(L1), cell.shown_difference(L1)) == ("0.0186", "+0.0006")
    assert Cell([0.01796], paper="0.0180").shown_difference(L1) == "+0.0000"
    assert Cell([0.01854], paper="0.0179").shown_difference(L1) == "+0.0006"
    assert Cell([26.0], paper="26.48").shown_difference(PSNR) == "-0.48"
    assert cell.difference == 0.01856 - 0.018


def test_infinite_and_undefined_values_are_shown_as_such():
    """An infinite PSNR is shown, has no deviation and no difference."""
    cell = Cell([float("inf"), 30.0], paper="26.48")
    assert (cell.shown(PSNR), cell.spread(PSNR), cell.shown_difference(PSNR)) == ("inf", None, None)


# What is too few to rank ----------------------------------------------------------------------------------------------

GENERATED = """
name: generated
train: {clean: {epochs: 1, batch_size: 64, learning_rate: 1e-3}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 64, dim: 8}
quantizers: [{vq: {}}]
generate: {autoregressive: {steps: 4, batch_size: 8, width: 16, layers: 1, heads: 2}}
metrics: [psnr, rfid, fid, sample_kid, precision, recall, density, coverage, copies]
table: {columns: [codes, psnr, rfid, fid, sample_kid, precision, recall, density, coverage, copies, seconds]}
"""
PSNR_TOO_FEW = "PSNR is not ranked: it needs at least 100 test images, here 60."


def rfid_too_few(images: int) -> str:
    return f"rFID is not ranked: it needs at least 2,048 test images, here {images:,}."


def too_few(what: str, *needs: tuple[str, str]) -> list[str]:
    """The note on metrics of samples: ``what`` exists, and for each sentence the labels and the number needed."""
    count, noun = what.split()
    verbs = {True: "are not ranked: they need", False: "is not ranked: it needs"}
    sentences = [f"{labels} {verbs[',' in labels]} at least {need} {noun}, here {count}." for labels, need in needs]
    return [" ".join(sentences)]


FID = ("FID", "2,048")
KID = ("KID", "1,000")
OTHERS = ("Precision, Recall, Density, Coverage, Copies", "100")
EVERY = {"psnr", "rfid", "fid", "sample_kid", "precision", "recall", "density", "coverage", "copies"}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A suite with a second stage on 4,000 training and 1,000 test images."""
    path = tmp_path_factory.mktemp("suite") / "generated.yaml"
    path.write_text(GENERATED)
    return loading.load(path, [])


@pytest.mark.parametrize(
    ("sampling", "images", "unranked", "further"),
    [
        (Sampling(50_000, "train"), None, {"rfid"}, []),
        (Sampling(50_000, "train"), 60, {"psnr", "rfid"}, []),
        (Sampling(2_048, "train", 2_048), None, {"rfid"}, []),
        (Sampling(2_047, "train", 2_048), None, {"rfid", "fid"}, too_few("2,047 samples", FID)),
        (Sampling(2_048, "train", 2_047), None, {"rfid", "fid"}, too_few("2,047 references", FID)),
        (Sampling(50_000, "test"), None, {"rfid", "fid"}, too_few("1,000 references", FID)),
        (Sampling(50_000, "test"), 60, EVERY, too_few("60 references", FID, KID, OTHERS)),
        (
            Sampling(999, "test"),
            None,
            {"rfid", "fid", "sample_kid"},
            too_few("999 samples", FID, KID),
        ),
    ],
)
def test_samples_and_references_are_counted(
    generated: Plan, sampling: Sampling, images: int | None, unranked: set[str], further: list[str]
) -> None:
    """Metrics of samples are not ranked if these, or the references in use, are too few, however many test
    images there are, and a line below the table says which; those of reconstructions go by test images."""
    changed = replace(generated, sampling=sampling, suite=generated.suite.reduce(images))
    [table] = assemble.tables(changed, [])
    assert table.protocol == ("clean" if images is None else "clean@60")
    assert {column.key for column in table.columns if column.unranked} == unranked
    tested = [f"{PSNR_TOO_FEW} {rfid_too_few(60)}"] if images else [rfid_too_few(1_000)]
    assert table.footnotes == [*tested, *further]
    assert f"- {table.footnotes[0]}\n" in render(table, "markdown", all_notes=True)


def test_the_smallest_data_set_counts(generated: Plan) -> None:
    """Of several data sets, the one with the fewest references decides for the column."""
    small = replace(generated.datasets["fashion_mnist_5k"], train=1_500, test=9_000)
    datasets = {**generated.datasets, "small": small}
    [table] = assemble.tables(replace(generated, sampling=Sampling(5_000, "train"), datasets=datasets), [])
    assert table.footnotes == [rfid_too_few(1_000), *too_few("1,500 references", FID)]


# The formats ----------------------------------------------------------------------------------------------------------


def test_text():
    """The whole page as plain text."""
    assert render(example_table()) == (
        "Recon_struction at 100 %\n"
        "vqbench table small_datasets --paper\n"
        "\n"
        "                      l1 ↓    PSNR [dB] ↑\n"
        "--------  ----------------  -------------\n"
        "MNIST\n"
        "identity            0.0000          99.00\n"
        "VQ-VAE    _0.0207 ± 0.0000  _26.45 ± 0.07\n"
        "SQ-VAE          FAILED [a]        not run\n"
        "CVQ-VAE   *0.0180 ± 0.0000  *27.85 ± 0.07\n"
        "\n"
        "* best, _ second in its block, as shown.\n"
        "Mean ± sample standard deviation over 1 to 2 seeds; without ±, one seed.\n"
        "[a] loss became NaN at step 9\n"
    )


def test_markdown():
    """The whole page as Markdown, with what would be markup in a name escaped."""
    assert render(example_table(), "markdown") == (
        "### Recon\\_struction at 100 %\n"
        "\n"
        "vqbench table small\\_datasets --paper\n"
        "\n"
        "|          |                   l1 ↓ |       PSNR \\[dB\\] ↑ |\n"
        "|:---------|-----------------------:|--------------------:|\n"
        "| *MNIST*  |                        |                     |\n"
        "| identity |                 0.0000 |               99.00 |\n"
        "| VQ-VAE   | <u>0.0207</u> ± 0.0000 | <u>26.45</u> ± 0.07 |\n"
        "| SQ-VAE   |     FAILED<sup>a</sup> |             not run |\n"
        "| CVQ-VAE  |    **0.0180** ± 0.0000 |    **27.85** ± 0.07 |\n"
        "\n"
        "- Bold best, underlined second in its block, as shown.\n"
        "- Mean ± sample standard deviation over 1 to 2 seeds; without ±, one seed.\n"
        "- <sup>a</sup> loss became NaN at step 9\n"
    )


def test_latex():
    """The whole page as LaTeX with booktabs, and no character left that LaTeX would take for its own."""
    assert render(example_table(), "latex") == (
        "% needs \\usepackage{booktabs}, \\usepackage{textcomp} and \\usepackage[T1]{fontenc}\n"
        "\\begin{table}\n"
        "\\centering\n"
        "\\caption{Recon\\_struction at 100 \\%}\n"
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        "& l1 $\\downarrow$ & PSNR {[}dB] $\\uparrow$ \\\\\n"
        "\\midrule\n"
        "\\multicolumn{3}{l}{\\textit{MNIST}} \\\\\n"
        "identity & 0.0000 & 99.00 \\\\\n"
        "VQ-VAE & \\underline{0.0207} $\\pm$ 0.0000 & \\underline{26.45} $\\pm$ 0.07 \\\\\n"
        "SQ-VAE & FAILED\\textsuperscript{a} & not run \\\\\n"
        "CVQ-VAE & \\textbf{0.0180} $\\pm$ 0.0000 & \\textbf{27.85} $\\pm$ 0.07 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\begin{flushleft}\\footnotesize\n"
        "vqbench table small\\_datasets -{}-paper \\par\n"
        "Bold best, underlined second in its block, as shown. \\par\n"
        "Mean $\\pm$ sample standard deviation over 1 to 2 seeds; without $\\pm$, one seed. \\par\n"
        "\\textsuperscript{a} loss became NaN at step 9\n"
        "\\end{flushleft}\n"
        "\\end{table}\n"
    )


def test_csv_has_one_line_a_value_at_full_precision():
    """Every value is unrounded on its own line, and a cell without one says why on a line of its own."""
    lines = list(csv.DictReader(io.StringIO(render(against_paper(example_table(), "B.1"), "csv"))))
    assert list(lines[0])[:7] == ["table", "protocol", "dataset", "row", "setting", "metric", "seed"]
    l1 = [line for line in lines if line["metric"] == "l1"]
    assert [(line["row"], line["seed"], line["value"], line["status"]) for line in l1] == [
        ("identity", "", "0.0", "ok"),
        ("VQ-VAE", "1", "0.02071", "ok"),
        ("VQ-VAE", "2", "0.02075", "ok"),
        ("SQ-VAE", "", "", "failed"),
        ("CVQ-VAE", "1", "0.018", "ok"),
        ("CVQ-VAE", "2", "0.01804", "ok"),
    ]
    failed = l1[3]
    assert (failed["reason"], failed["paper"], failed["verdict"]) == ("loss became NaN at step 9", "0.0197", "NOT RUN")
    vq = l1[1]
    assert (vq["table"], vq["protocol"], vq["dataset"]) == ("small_datasets", "official", "mnist")
    assert (vq["paper"], vq["verdict"]) == ("0.0207", "REPRODUCED")
    assert float(vq["difference"]) == pytest.approx(0.00003)


def test_csv_of_several_tables_has_one_head():
    """Tables under two measuring protocols go into one file, distinguished by the column ``protocol``."""
    page = render([example_table(), example_table()], "csv")
    assert page.count("table,protocol") == 1
    assert len(page.splitlines()) == 1 + 2 * 12


@pytest.mark.parametrize(
    ("group_by", "dataset", "setting"), [("dataset", "online", "mnist"), ("setting", "mnist", "online")]
)
def test_csv_names_what_a_group_stands_for(group_by, dataset, setting):
    """Groups fill the column of what they are, and blocks the other one."""
    blocks = [RowBlock("MNIST", [Row("random", [Cell([1.0])])], "mnist")]
    table = Table("T", [L1], blocks, groups=[ColumnGroup("Online", "online")], group_by=group_by)
    [line] = csv.DictReader(io.StringIO(render(table, "csv")))
    assert (line["dataset"], line["setting"], line["row"]) == (dataset, setting, "random")


def test_groups_stand_side_by_side():
    """All columns repeat under each group, and each group has a best of its own."""
    rows = [Row("random", [Cell([1.0]), Cell([2.0])]), Row("closest", [Cell([2.0]), Cell([1.0])])]
    table = Table("T", [L1], [RowBlock("", rows)], groups=[ColumnGroup("offline"), ColumnGroup("on_line")])
    latex = render(table, "latex")
    assert r"& \multicolumn{1}{c}{offline} & \multicolumn{1}{c}{on\_line} \\" in latex
    assert r"\cmidrule(lr){2-2} \cmidrule(lr){3-3}" in latex
    assert r"random & \textbf{1.0000} & \underline{2.0000} \\" in latex
    assert "offline<br>l1 ↓ |" in render(table, "markdown")
    assert re.search(r"offline +on_line\n +l1 ↓ +l1 ↓\n", render(table))


def test_blocks_have_bests_of_their_own():
    """The best values of two data sets do not compete."""
    table = Table("T", [L1], [single(L1, 1.0, 2.0), single(L1, 8.0, 9.0)])
    assert re.findall(r"\*\d", render(table)) == ["*1", "*8"]


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_equal_footnotes_share_a_mark(form):
    """Five cells that failed for one reason have one footnote, and another reason has the next letter."""
    row = Row("a", [Cell(status="failed", reason="no memory"), Cell(status="failed", reason="no memory")])
    other = Row("b", [Cell(status="failed", reason="NaN"), Cell(status="none")], footnotes=["no released code"])
    page = render(Table("T", [L1, PSNR], [RowBlock("", [row, other])]), form)
    assert [page.count(text) for text in ("no memory", "NaN", "no released code", "FAILED")] == [1, 1, 1, 3]
    notes = layout(Table("T", [L1, PSNR], [RowBlock("", [row, other])])).notes
    assert notes == [("a", "no memory"), ("b", "no released code"), ("c", "NaN")]


def test_a_cell_lists_its_marks_in_order_and_once():
    """Several footnotes of one cell keep their order, and a repeated one is marked once."""
    cells = [Cell([1.0], footnotes=["z", "y", "x", "z"]), Cell([1.0], footnotes=["x", "new", "z"])]
    [line] = layout(Table("T", [L1, PSNR], [RowBlock("", [Row("a", cells)])])).lines
    assert [piece.marks for piece in line.pieces] == [("a", "b", "c"), ("c", "d", "a")]


def test_footnotes_go_on_after_z():
    """The 27th footnote is aa, so that no two footnotes share a mark."""
    rows = [Row(str(i), [Cell(status="failed", reason=f"reason {i}")]) for i in range(60)]
    marks = [mark for mark, _ in layout(Table("T", [L1], [RowBlock("", rows)])).notes]
    assert (marks[25], marks[26], marks[52], len(set(marks))) == ("z", "aa", "ba", 60)


def test_a_failure_without_a_reason_says_so():
    """FAILED always has a reason."""
    assert "no reason is recorded" in render(Table("T", [L1], [RowBlock("", [Row("a", [Cell(status="failed")])])]))


def test_one_seed_makes_no_claim():
    """With one seed per cell no ± is shown, and a line says that the spread is unknown."""
    page = render(Table("T", [L1], [single(L1, 1.0, 2.0)]))
    assert "One seed per cell: seed-to-seed variation is unknown." in page
    assert "±" not in page


MARKUP = "|\\&%#${}[]*_~^<>`-a \n\r\t"
HOSTILE = st.text(MARKUP, max_size=12) | st.text(max_size=12)


@example(MARKUP, MARKUP, MARKUP)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_any_text_keeps_the_shape(label, title, reason):
    """Whatever names and reasons contain, rows of Markdown and LaTeX keep their number of cells."""
    row = Row(label, [Cell([1.0], footnotes=[reason]), Cell(status="failed", reason=reason)])
    table = Table(title, [L1, PSNR], [RowBlock("", [row])])
    bars = [line for line in render(table, "markdown").split("\n") if line.startswith("|")]
    assert len(bars) == 3
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in bars} == {4}
    latex = render(table, "latex")
    body = latex.split("\\midrule\n")[1].split("\n\\bottomrule")[0]
    assert len(body.split("\n")) == 1
    assert len(re.findall(r"(?<!\\)&", body)) == 2
    # Comments, other than our first line, open groups and unescaped special characters would break the document.
    assert not re.search(r"(?<!\\)[%#]", latex.split("\n", 1)[1])
    plain = re.sub(r"\\[{}]", "", latex)
    assert plain.count("{") == plain.count("}")


def test_a_row_of_latex_cannot_begin_like_an_argument():
    """After a line break LaTeX reads [ and * as arguments, so labels that begin with them are wrapped."""
    rows = [Row("[ours]", [Cell([1.0])]), Row("*best*", [Cell([1.0])])]
    latex = render(Table("T", [L1], [RowBlock("", rows)]), "latex")
    assert "\n{[}ours] & " in latex
    assert "\n{*}best{*} & " in latex


def every_page():
    """The example in every format, with and without the printed values."""
    table = against_paper(example_table(), "B.1")
    return "".join(render(table, form, paper) for form in FORMATS for paper in (False, True))


def test_regeneration_is_byte_identical():
    """Processes with different hash seeds write the same bytes in every format."""
    here = str(Path(__file__).parent)
    script = (
        f"import sys; sys.path.insert(0, {here!r}); import test_table;"
        "sys.stdout.buffer.write(test_table.every_page().encode())"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
        assert found.stdout == every_page().encode()


def test_unknown_formats_are_refused():
    """A wrong format names the nearest one."""
    with pytest.raises(UsageError, match="did you mean 'markdown'"):
        render(example_table(), "markdwon")


def test_a_thousand_records_are_fast():
    """A table of 1,000 rows with five metrics of three seeds takes well under a second in every format."""
    rows = [Row(f"m{i}", [Cell([0.1 + i * 1e-4, 0.2, 0.3])] * 5) for i in range(200)]
    table = Table("T", [L1, PSNR, USAGE, STEPS, L1], [RowBlock(str(i), rows) for i in range(5)])
    for form in FORMATS:
        start = time.process_time()
        render(table, form)
        assert time.process_time() - start < 1.0, form


def test_tables_need_no_heavy_imports():
    """Making and rendering tables imports neither torch nor pandas nor scipy, so that ``vqbench table`` is instant."""
    script = (
        "import sys; from vqbench.reporting import statistics; from vqbench.reporting.tables import comparison, render;"
        "print([name for name in ('torch', 'pandas', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
