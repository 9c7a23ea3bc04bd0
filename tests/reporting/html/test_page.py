"""The HTML page of a suite: its content, and the escaping of hostile texts."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.simulated_suite import many_rows, simulated_suite
from tests.support.tiny_suite import vqbench
from vqbench.planning import plan_file
from vqbench.planning.plan import Plan
from vqbench.reporting.html import page
from vqbench.reporting.html.measured import svg
from vqbench.reporting.html.suite_view import suite_view
from vqbench.store import snapshots
from vqbench.store.results import ResultStore

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"


def published(name: str) -> Plan:
    """A published suite as resolved when it was published; its records exist even if it is stale."""
    [plan] = [plan for plan in plan_file.stored(ResultStore(RESULTS)) if plan.name == name]
    return plan


@pytest.fixture(scope="module")
def quick() -> str:
    """The page of the published records of quick."""
    return page.page(suite_view(published("quick"), [ResultStore(RESULTS)], paper=True))


def model(text: str) -> Any:
    """Return the data block of a page."""
    return json.loads(re.search(r'<script type="application/json" id="model">(.*?)</script>', text, re.S)[1])  # type: ignore[index]


def test_the_page_of_quick_shows_what_its_table_shows(quick: str) -> None:
    """Every row and value of `vqbench table quick` is on the page, and every run has its details."""
    for words in ("cvq_offline", "0.0806", "28.7", "one seed: no claim", "hidden 64", "185,985 trained parameters"):
        assert words in quick, words
    [panel] = model(quick)["views"][0]["panels"]
    runs = {key for row in panel["rows"] for cell in row["cells"] for key in cell["runs"].values()}
    assert len(runs) == 8
    assert {f"run-{key}" for key in runs} <= set(re.findall(r'id="([^"]+)"', quick))
    assert len(quick.encode()) < 3e6


def test_json_has_the_numbers_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--format json` gives tables, comparisons and runs at full precision."""
    assert vqbench("report", "quick", "--store", tmp_path, "--results", RESULTS, "--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["command"] == "vqbench run quick"
    assert {each["claim"] for each in content["tables"][0]["statistics"]} <= {"one seed", "not comparable", "level"}
    assert len(content["runs"]) == 8
    assert content["runs"][1]["budget"]["updates"] == 330


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the simulated store."""
    return page.page(simulated_suite(tmp_path_factory.mktemp("everything")))


def test_failed_missing_and_one_seed_runs_are_named(everything: str) -> None:
    """A page says which runs failed and why, which were not run, which lack a metric, and where one seed is all."""
    text = html.unescape(re.sub(r"<[^>]+>", " ", everything))
    for words in (
        "12 of 24 runs complete",
        "2 lack a metric",
        "4 failed",
        "6 not run",
        "the loss became nan",
        "Traceback",
        "1 of 2 seeds",
        "lpips under clean",
        "FAILED",
        "own term",  # logged by the recipe for every epoch
    ):
        assert words in text, words
    assert everything.count("one seed: no claim") > 0


def test_hostile_words_are_text(everything: str) -> None:
    """No tag, attribute or formula comes from a suite's words, wherever on the page these occur."""
    assert "onerror=alert" in everything
    for tag in re.findall(r"<[a-zA-Z][^>]*>", everything):
        if "onerror" in tag:
            unquoted = re.sub(r'"[^"]*"', "", tag)
            assert "onerror" not in unquoted, tag
    assert len(re.findall(r"<script", everything)) == 2  # the data and the page's own
    assert "<img src=x" not in everything
    assert "style=" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", everything, flags=re.S)


def test_numbers_of_a_drawing_keep_their_digits() -> None:
    """Coordinates are rounded to save space, but not what readers see: tick labels and the text alternative."""
    figure, axes = svg.panel()
    axes.plot([0, 1], [0.375, 0.376])
    axes.set_yticks([0.3755])
    drawn = svg.inline(figure, 'at 0.37551 "<b>')
    assert ">0.3755</text>" in drawn
    assert 'aria-label="at 0.37551 &#34;&lt;b&gt;"' in drawn
    assert "style=" not in drawn
    assert not re.search(r' d="[^"]*\d\.\d{3}', drawn)


def test_runs_of_earlier_versions_are_shown_with_what_they_have(tmp_path: Path) -> None:
    """Without images, counts and curves of the codebook, a page says that these are missing."""
    old = page.page(simulated_suite(tmp_path, kept=False))
    assert "No images are stored for these runs" in old
    assert "No code counts are stored" in old


def test_a_page_without_comparisons_says_why(tmp_path: Path) -> None:
    """With 4 test images the page gives that as the reason, and counts no comparisons and no columns."""
    suite, few = simulated_suite(tmp_path), "4 test images, and rows are compared from 100 on"
    tables = [
        replace(each, columns=[replace(column, unranked=few) for column in each.columns]) for each in suite.tables
    ]
    shown = page.page(replace(suite, tables=tables))
    assert f"No comparison: {few}." in shown
    assert model(shown)["views"][0]["findings"][0].endswith(f"l1 is not ranked: {few}.")
    assert "columns have a row" not in shown


def test_generators_show_samples_and_their_neighbours(tmp_path: Path) -> None:
    """Six samples stand in the row of the atlas; below, all samples and the nearest training image of each."""
    suite = simulated_suite(tmp_path)
    view = next(view for view in suite.runs if view.portrait)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 1, 28, 28), dtype=np.uint8)
    kept = snapshots.SampleSnapshot(images[0], images[1], np.arange(100, 108))
    snapshots.write(suite.stored.stores[0].folder(view.run), kept)
    text = page.page(suite_view(suite.plan, suite.stored.stores, paper=False))
    assert f'alt="{view.label}: samples"' in text
    assert f'alt="{view.name}: samples"' in text
    assert 'alt="their nearest training images: 100, 101, 102, 103, 104, 105, 106, 107"' in text


def test_a_damaged_portrait_costs_its_image_alone(tmp_path: Path) -> None:
    """The page is still written, and names the damaged file."""
    suite = simulated_suite(tmp_path)
    view = next(view for view in suite.runs if view.portrait)
    path = suite.stored.stores[0].folder(view.run) / snapshots.SNAPSHOT_FILE
    path.write_bytes(b"PK broken")
    again = suite_view(suite.plan, suite.stored.stores, paper=False)
    assert again.by_key[view.key].portrait is None
    assert "portrait.npz: damaged" in page.page(again)


@pytest.mark.parametrize(("rows", "largest"), [(8, 3e6), (24, 6e6), pytest.param(100, 20e6, marks=pytest.mark.slow)])
def test_pages_stay_small(tmp_path: Path, rows: int, largest: float) -> None:
    """Rows whose images are noise, which no PNG makes small, are a page of less than 3, 6 and 20 MB."""
    size = len(page.page(many_rows(tmp_path, rows)).encode())
    assert largest / 2 < size < largest


def test_equal_budgets_have_no_mark(quick: str) -> None:
    """One parameter more, or an averaged codebook in the place of a trained one, is no other budget."""
    assert "other budget" not in quick
    assert "218,754 trained parameters" in quick
    assert all(not row["marks"] for row in model(quick)["views"][0]["panels"][0]["rows"])


def test_the_finding_says_who_leads_and_how_certain_that_is(quick: str) -> None:
    """The sentence on top names the leader, its value as in the table, the correction, images and seeds."""
    view = model(quick)["views"][0]
    lpips = next(i for i, column in enumerate(view["columns"]) if column["key"] == "lpips")
    assert view["metric"] == lpips
    rows = [row for row in view["panels"][0]["rows"] if not row["bound"]]
    best = min(rows, key=lambda row: row["cells"][lpips]["mean"])
    sentence = view["findings"][lpips]
    assert sentence.startswith(
        f"{best['label']} has the lowest LPIPS ({best['cells'][lpips]['shown']}); as one trained"
    )
    assert "paired by 1,000 images and 1 seed" in sentence
    assert "1 seed: differences between trainings are unknown." in quick
    assert " methods leave more than half of their codes unused." in view["unused"]


def test_one_seed_has_an_interval_over_images_and_more_have_one_over_seeds(quick: str, everything: str) -> None:
    """An interval says what it covers; a metric that is no mean over images has none for one seed."""
    columns = [column["key"] for column in model(quick)["views"][0]["columns"]]
    cells = model(quick)["views"][0]["panels"][0]["rows"][1]["cells"]
    lpips, usage = (cells[columns.index(name)] for name in ("lpips", "usage"))
    assert lpips["low"] < lpips["mean"] < lpips["high"]
    assert lpips["basis"] == "over 1,000 images, one trained model"
    assert usage["low"] is None
    bases = {cell["basis"] for row in model(everything)["views"][0]["panels"][0]["rows"] for cell in row["cells"]}
    assert "over 2 seeds" in bases


def test_reasons_of_rows_that_are_not_compared_are_named_once(everything: str) -> None:
    """Rows without a comparison are listed after their common reason."""
    text = html.unescape(everything)
    lines = re.findall(r"Not compared: (.*?)</p>", text)
    assert lines
    for line in lines:
        reasons = re.findall(r"(?:^|; )([^;()]+) \(", line)
        assert reasons
        assert len(reasons) == len(set(reasons))
    assert any("not run (sqvae)" in line and "failed (hvq)" in line for line in lines)


def test_external_rows_are_set_apart(tmp_path: Path) -> None:
    """A row that was not trained here has a class, and the legend says what its hollow square means."""
    suite = simulated_suite(tmp_path)
    [table] = suite.tables
    block = table.blocks[0]
    rows = [replace(row, external=row.label == "cvq") for row in block.rows]
    external = replace(table, blocks=[replace(block, rows=rows), *table.blocks[1:]])
    text = page.page(replace(suite, tables=[external]))
    assert len(re.findall(r'<tr class="row external"', text)) == 1
    assert "Hollow square: row not trained here, not ranked." in text
    assert "Hollow square" not in page.page(suite)


# Other pages ----------------------------------------------------------------------------------------------------------


def test_the_index_leads_to_a_page_of_every_suite(tmp_path: Path) -> None:
    """Every resolved suite of a store has a page and a card with its state, and hostile titles are text there, too."""
    simulated_suite(tmp_path, kept=False)
    plan_file.save(published("quick"), ResultStore(tmp_path / "results"))
    folders = ("--store", tmp_path / "runs", "--results", tmp_path / "results", "-o", tmp_path / "out")
    assert vqbench("report", "--index", *folders) == 0
    start = (tmp_path / "out" / "index.html").read_text()
    pages = re.findall(r'<h2><a href="([^"]+)"', start)
    assert set(pages) == {"page.html", "quick.html"}
    assert all((tmp_path / "out" / name).stat().st_size < 3e6 for name in pages)
    assert "4 failed" in start
    assert "<img src=x" not in start


def test_a_card_says_how_its_suite_differs_from_the_file(tmp_path: Path) -> None:
    """The title is whole; what was left out, reduced or changed stands below it, settings of many letters by name."""
    plan = published("quick-00e038f6")
    changed = ["generate={diffusion: {steps: 4500, batch_size: 64, channels: 32}}", "codebook.num_codes=64"]
    suite = plan.suite.model_copy(update={"changed": changed, "reduced": {"batch_size": 8}, "test_images": 100})
    plan_file.save(replace(plan, suite=suite), ResultStore(tmp_path / "results"))
    folders = ("--store", tmp_path / "results", "--results", tmp_path, "-o", tmp_path / "out")
    assert vqbench("report", "--index", *folders) == 0
    words = (
        "Differs from suite quick: reduced to batch size 8; reduced to the first 100 test images; 3 of 8 rows; "
        "changed generate; changed codebook.num_codes=64."
    )
    for name in ("index.html", "quick-00e038f6.html"):
        text = (tmp_path / "out" / name).read_text()
        assert words in text
        assert "CHANGED" not in text
        assert "..." not in re.sub(r"<(style|script).*?</\1>", "", text, flags=re.S)


def test_an_index_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If nothing was run or published, an error is shown and no page is written."""
    (tmp_path / "a").mkdir()
    assert vqbench("report", "--index", "--store", tmp_path / "a", "--results", tmp_path / "b") == 1
    assert "no suite that was run or published" in capsys.readouterr().err
