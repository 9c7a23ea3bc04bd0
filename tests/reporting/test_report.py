"""The page of a suite: what it says, that it says it safely, and how it behaves in a browser."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_suite import vqbench
from vqbench.evaluation.snapshot_writer import choose
from vqbench.planning import loading, plan_file
from vqbench.planning.overrides import Override
from vqbench.planning.plan import Plan
from vqbench.reporting.column_tests import judge_columns
from vqbench.reporting.html import page, svg
from vqbench.reporting.html.suite_view import SuiteView, suite_view
from vqbench.reporting.tables.table import Block, Cell, Column, Row, Table
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store import snapshots
from vqbench.store.record import Failure, Record, Value
from vqbench.store.results import ResultStore

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


def published(name: str) -> Plan:
    """A published suite as it was resolved then: stale or not, its records are there."""
    [plan] = [plan for plan in plan_file.stored(ResultStore(RESULTS)) if plan.name == name]
    return plan


@pytest.fixture(scope="module")
def quick() -> str:
    """The page of the published records of quick."""
    return page.page(suite_view(published("quick"), [ResultStore(RESULTS)], paper=True))


HOSTILE = """\"><img src=x onerror=alert(1)><script>alert('x')</script>$\\alpha$"""
SUITE = """
name: page
title: {title}
train: {{clean: {{epochs: 3, batch_size: 64}}}}
measure: [clean]
datasets: [fashion_mnist_5k, cifar10]
quantizers:
  - {{identity: {{}}, label: identity}}
  - {{vq: {{}}, label: {label}}}
  - vq_ema
  - cvq
  - hvq
  - sqvae
seeds: [1, 2]
metrics: [l1, lpips, usage, perplexity, bits]
"""


def made_up(folder: Path, kept: bool = True) -> SuiteView:
    """A store with everything: complete runs, one of one seed, one that lacks a metric, failed and missing ones.

    Title, a label, a reason and a log are written by somebody who wants to run a script on the page.
    """
    folder.mkdir(exist_ok=True)
    suite = folder / "page.yaml"
    suite.write_text(SUITE.format(title=json.dumps(HOSTILE), label=json.dumps(HOSTILE)))
    plan, store = loading.load(suite, []), ResultStore(folder / "runs")
    plan_file.save(plan, store)
    rng = np.random.default_rng(0)
    for run in plan.runs():
        name = run.quantizer.name
        if name == "hvq":
            store.fail(run, Failure(f"the loss became nan {HOSTILE}", ["Traceback", HOSTILE, f"</pre>{HOSTILE}"]))
        elif name != "sqvae" and not (name == "cvq" and run.seed == 2):
            write_run(store, run, rng, kept, lacking="lpips" if name == "vq_ema" and run.seed == 2 else "")
    return suite_view(plan, [store], paper=True, command="vqbench run page.yaml")


def write_run(store: ResultStore, run: RunSpec, rng: np.random.Generator, kept: bool, lacking: str = "") -> None:
    """A record with plausible, made-up numbers, and what a training keeps beside it."""
    images = {f"clean/{metric}": rng.uniform(0.1, 0.2, 50).astype(np.float32) for metric in ("l1", "lpips")}
    coded = run.quantizer.name != "identity"
    values = {metric: float(images[f"clean/{metric}"].mean()) for metric in ("l1", "lpips")}
    values |= dict.fromkeys(("usage", "perplexity", "bits"), None) if not coded else {}  # type: ignore[arg-type]
    values |= {"usage": 40.0 + run.seed, "perplexity": 100.0 * rng.uniform(), "bits": 441.0} if coded else {}
    values.pop(lacking, None)
    versions = dict.fromkeys(("torch", "numpy"), "2.0")
    made = {"commit": None, "versions": versions, "device": f"CPU {HOSTILE}", "threads": 2, "seconds": 3.5}
    made |= {"date": "2026-01-31T12:00:00Z", "parameters": 1000 + run.seed, "measured": []}
    history = [
        {"epoch": e, "loss": 1 / e, "error": 0.1 / e, "selection_error": None, "own term": -0.1 * e}
        | ({"usage": 10.0 * e, "perplexity": 2.0 * e, "dead": 512 - 50 * e, "revived": e - 1} if coded else {})
        for e in (1, 2, 3)
    ]
    stored = {metric: Value(value, 1, 1, 50) for metric, value in values.items()}
    store.write_images(run, images)
    if kept:
        side, channels = (32, 3) if run.dataset.name == "cifar10" else (28, 1)
        chosen, groups = choose(50, images["clean/lpips"])
        pictures = rng.integers(0, 256, (2, len(chosen), channels, side, side), dtype=np.uint8)
        counts = rng.poisson(rng.exponential(20, (1, 512))) * (rng.uniform(size=(1, 512)) < 0.4) if coded else None
        folder = store.folder(run)
        if counts is not None:
            snapshots.write(
                folder,
                snapshots.UsageHistory(snapshots.shades(np.concatenate([counts // 4, counts // 2, counts])), 1, 1),
            )
        plane = rng.normal(size=(600, 2)).astype(np.float32)
        decoded = rng.integers(0, 256, (256, channels, 8, 8), dtype=np.uint8)
        snapshots.write(
            folder,
            snapshots.Snapshot(
                positions=49,
                counts=counts,
                chosen=chosen,
                groups=groups,
                scores=images["clean/lpips"][chosen],
                originals=pictures[0],
                reconstructions=pictures[1],
                codes_at=plane[:512] if coded else None,
                features_at=plane,
                explained=np.array([0.5, 0.2], np.float32),
                decoded=decoded if coded else None,
                decoded_codes=np.arange(256) if coded else None,
            ),
        )
    store.write(Record(run, {"clean": stored}, made, history))


def table_of(*rows: list[list[float]], better: str = "min", spread: float = 1.0) -> tuple[Table, dict]:
    """A table of one metric, each row (seeds, images) of values, and these as a page finds them."""
    made, images = [], {}
    for i, row in enumerate(rows):
        runs = {seed: f"{i}-{seed}" for seed in range(len(row))}
        images |= {runs[seed]: np.array(each) for seed, each in enumerate(row)}
        made.append(Row(f"row {i}", [Cell([float(np.mean(each)) for each in row], seeds=list(runs), runs=runs)]))
    column = Column("l1", "l1", better=better, digits=6)  # type: ignore[arg-type]
    return Table("T", [column], [Block("data", made)], protocol="clean"), images


def judged(*rows: list[list[float]]) -> str:
    table, images = table_of(*rows)
    return judge_columns(table, lambda key, name: images[key])[0, 0].claim


# Statistics -----------------------------------------------------------------------------------------------------------


def test_one_seed_makes_no_claim_however_large_the_difference() -> None:
    """A thousand images that all say the same of two trained models say nothing about another seed."""
    pictures = np.random.default_rng(0).normal(size=1000)
    assert judged([pictures], [pictures + 5]) == "one seed"
    assert judged([pictures + 0.01 * s for s in range(3)], [pictures + 5 + 0.01 * s for s in range(3)]) == "significant"


def test_what_seeds_scatter_is_no_claim() -> None:
    """Where trainings differ as much as methods do, no row is ahead, though every image tells the models apart."""
    pictures = np.random.default_rng(0).normal(size=500)
    first, second = ([pictures + shift for shift in shifts] for shifts in ((0.0, 0.3, -0.3), (0.4, -0.1, 0.2)))
    assert judged(first, second) == "open"


def test_bold_is_rarely_wrong() -> None:
    """Of 250 tables of four equal methods, at most 5 % have a row that is said to be ahead of all others."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(250):
        hard = rng.normal(size=30)
        rows = [[hard + rng.normal(scale=0.3) + rng.normal(scale=0.5, size=30) for _ in range(4)] for _ in range(4)]
        wrong += judged(*rows) == "significant"
    assert wrong / 250 <= 0.05


# The page -------------------------------------------------------------------------------------------------------------


def test_the_page_of_quick_says_what_its_table_says(quick: str) -> None:
    """Every row and value of `vqbench table quick` is on the page, and links to its record."""
    for words in ("cvq_offline", "0.0806", "28.7", "one seed: no claim", "hidden 64", "185,985 trained parameters"):
        assert words in quick, words
    links = set(re.findall(r'href="#(run-\w+)"', quick))
    assert len(links) == 8
    assert links <= set(re.findall(r'id="([^"]+)"', quick))
    assert len(quick.encode()) < 3e6


def test_json_has_the_numbers_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--format json` gives tables, comparisons and runs at full precision."""
    assert vqbench("report", "quick", "--store", tmp_path, "--results", RESULTS, "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == "vqbench run quick"
    assert {each["claim"] for each in told["tables"][0]["statistics"]} <= {"one seed", "not comparable", "level"}
    assert len(told["runs"]) == 8
    assert told["runs"][1]["budget"]["updates"] == 330


def test_results_equal_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    """Between a folder and itself nothing changed."""
    assert vqbench("diff", RESULTS, RESULTS) == 0
    assert "0 changed beyond noise; 0 kinds of run new, 0 gone" in capsys.readouterr().out


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the made-up store."""
    return page.page(made_up(tmp_path_factory.mktemp("everything")))


def test_failed_missing_and_one_seed_runs_are_told(everything: str) -> None:
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
        "own term",  # which the recipe tells of every epoch
    ):
        assert words in text, words
    assert everything.count("one seed: no claim") > 0


def test_hostile_words_are_text(everything: str) -> None:
    """No tag, attribute or formula comes from a suite's words, wherever on the page these stand."""
    assert "onerror=alert" in everything
    for tag in re.findall(r"<[a-zA-Z][^>]*>", everything):
        if "onerror" in tag:
            unquoted = re.sub(r'"[^"]*"', "", tag)
            assert "onerror" not in unquoted, tag
    assert len(re.findall(r"<script", everything)) == 1
    assert "<img src=x" not in everything
    assert "style=" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", everything, flags=re.S)


def test_numbers_of_a_drawing_keep_their_digits() -> None:
    """Coordinates are rounded to be small, and what is read is not: a tick at 0.375 says so, and the text as well."""
    figure, axes = svg.panel()
    axes.plot([0, 1], [0.375, 0.376])
    axes.set_yticks([0.3755])
    drawn = svg.inline(figure, 'at 0.37551 "<b>')
    assert ">0.3755</text>" in drawn
    assert 'aria-label="at 0.37551 &#34;&lt;b&gt;"' in drawn
    assert "style=" not in drawn
    assert not re.search(r' d="[^"]*\d\.\d{3}', drawn)


def test_runs_of_earlier_versions_are_shown_with_what_they_have(tmp_path: Path) -> None:
    """Without images, counts and curves of the codebook there is a page, which says that there are none."""
    old = page.page(made_up(tmp_path, kept=False))
    assert "No images are kept for these runs" in old
    assert "No counts of codes are kept" in old


def test_a_damaged_portrait_costs_its_image_alone(tmp_path: Path) -> None:
    """The page is made all the same, and names the file."""
    suite = made_up(tmp_path)
    view = next(view for view in suite.runs if view.portrait)
    path = suite.stored.stores[0].folder(view.run) / snapshots.SNAPSHOT_FILE
    path.write_bytes(b"PK broken")
    again = suite_view(suite.plan, suite.stored.stores, paper=False)
    assert again.by_key[view.key].portrait is None
    assert "portrait.npz: damaged" in page.page(again)


@pytest.mark.slow
def test_a_hundred_runs_stay_small(tmp_path: Path) -> None:
    """100 runs on CIFAR10 whose images are noise, which no PNG makes small, are a page of less than 20 MB."""
    plan = loading.load("small_datasets", [], [Override("seeds", list(range(25))), Override("datasets", ["cifar10"])])
    store, rng = ResultStore(tmp_path), np.random.default_rng(0)
    plan = replace(plan, suite=plan.suite.model_copy(update={"measure": ["clean"]}))
    first, *others = plan.runs()
    write_run(store, first, rng, kept=True)
    for run in others:
        write_run(store, run, rng, kept=False)
        assert snapshots.copy(store.folder(first), store.folder(run)) == []
    assert len(others) == 99
    made = page.page(suite_view(plan, [store], paper=False))
    assert 1e6 < len(made.encode()) < 20e6
    if folder := os.environ.get("VQBENCH_PAGES"):
        Path(folder, "hundred.html").write_text(made)


def test_equal_budgets_have_no_mark(quick: str) -> None:
    """One parameter more, or an averaged codebook in the place of a trained one, is no other budget."""
    assert "other budget" not in quick
    assert "218,754 trained parameters" in quick
    assert "<sup>" not in quick


# Other pages, and what changed ---------------------------------------------------------------------------------------


def test_the_index_leads_to_a_page_of_every_suite(tmp_path: Path) -> None:
    """Every resolved suite of a store has a page and a card with its state, and hostile titles are text there, too."""
    made_up(tmp_path, kept=False)
    plan_file.save(published("quick"), ResultStore(tmp_path / "results"))
    folders = ("--store", tmp_path / "runs", "--results", tmp_path / "results", "-o", tmp_path / "out")
    assert vqbench("report", "--index", *folders) == 0
    start = (tmp_path / "out" / "index.html").read_text()
    pages = re.findall(r'<h2><a href="([^"]+)"', start)
    assert set(pages) == {"page.html", "quick.html"}
    assert all((tmp_path / "out" / name).stat().st_size < 3e6 for name in pages)
    assert "4 failed" in start
    assert "<img src=x" not in start


def test_an_index_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was run or published there is no page, but a sentence."""
    assert vqbench("report", "--index", "--store", tmp_path / "a", "--results", tmp_path / "b") == 1
    assert "no suite that was run or published" in capsys.readouterr().err


def changed_store(folder: Path, shift: dict[int, float]) -> ResultStore:
    """Runs of vq whose l1 of each image is moved by ``shift``, which maps seeds to amounts."""
    store = ResultStore(folder)
    hard = np.random.default_rng(3).uniform(0.1, 0.2, 200)
    parts = [PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "few", "vq")]
    for seed, amount in shift.items():
        run = RunSpec(*parts, seed=seed)
        each = hard + 0.001 * seed + amount
        store.write_images(run, {"clean/l1": each})
        value = Value(float(each.mean()), 1, 1, len(each))
        store.write(Record(run, {"clean": {"l1": value}}, {"seconds": 1.0, "date": "2026-01-31"}))
    return store


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        ({1: 0.0, 2: 0.0}, "equal"),
        ({1: 0.05, 2: 0.0501, 3: 0.0499}, "changed"),
        ({1: 0.05, 2: -0.05, 3: 0.02}, "within noise"),
        ({1: 0.05}, "one seed: no claim about training"),
    ],
)
def test_a_change_is_told_from_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: dict[int, float], verdict: str
) -> None:
    """What all seeds agree on is a change, what they scatter by is noise, and one seed allows no claim."""
    changed_store(tmp_path / "a", dict.fromkeys(shift, 0.0))
    changed_store(tmp_path / "b", shift)
    assert vqbench("diff", tmp_path / "a", tmp_path / "b", "--json") == 0
    [change] = json.loads(capsys.readouterr().out)["changes"]
    assert verdict in change["verdict"]
    assert change["seeds"] == list(shift)


def test_new_and_gone_runs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What only one of the two states has is told, not compared."""
    changed_store(tmp_path / "a", {1: 0.0})
    (tmp_path / "b").mkdir()
    assert vqbench("diff", tmp_path / "a", tmp_path / "b") == 0
    assert "gone: few: vq()" in capsys.readouterr().out


def test_commits_and_dates_name_the_past(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit, or the last one of a day, stands for the results folder as it was then; anything else is refused."""

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        day = {"GIT_COMMITTER_DATE": "2026-01-31T12:00:00Z"}
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, env=os.environ | day)

    monkeypatch.chdir(tmp_path)
    changed_store(tmp_path / "results", {1: 0.0, 2: 0.0, 3: 0.0})
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        git(*words)
    changed_store(tmp_path / "results", {1: 0.05, 2: 0.0501, 3: 0.0499})
    for past in ("HEAD", "2026-01-31"):
        assert vqbench("diff", past, "results") == 0
        assert "1 changed beyond noise" in capsys.readouterr().out
    for wrong, told in (("2020-01-01", "no commit of that day"), ("nonsense", "neither a folder, nor a commit")):
        assert vqbench("diff", wrong, "results") == 2
        assert told in capsys.readouterr().err
