"""The life of a plugin: written, checked, put in a table, and offered by a package of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vqbench import registry
from vqbench.cli import app, check
from vqbench.conformance import scaffold
from vqbench.conformance.outcome import Result
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.changes import select_rows
from vqbench.planning.overrides import Override
from vqbench.planning.suite_files import load_suite
from vqbench.store.results import ResultStore
from vqbench.testing import Report

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

TINY = """
name: tiny
train: {clean: {epochs: 1, batch_size: 8, subset: 16, selection: last}}
measure: [clean]
test_images: 20
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 8, residual_hidden: 4}}
codebook: {num_codes: 16, dim: 4}
quantizers:
  - {vq: {}, label: plain}
  - {vq: {distance: [l2, cosine]}, label: grid}
  - cvq_offline
metrics: [l1, usage, bits]
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    yield
    registry.sources.cache_clear()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a small suite in it."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vqbench(*words: object) -> int:
    return app.run_words([str(word) for word in words])


# --- A new file -----------------------------------------------------------------------------------------------------


def test_a_new_quantizer_is_one_file_in_the_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`new` writes one file, `check` finds nothing wrong with it, and `run --plugin --only` trains its row."""
    before = set(here.iterdir())
    assert vqbench("new", "quantizer", "my_vq") == 0
    assert set(here.iterdir()) - before == {here / "my_vq.py"}
    assert "vqbench run quick --plugin my_vq.py --only my_vq" in capsys.readouterr().out
    assert 35 <= len((here / "my_vq.py").read_text().splitlines()) <= 55
    assert vqbench("check", "my_vq.py", "--json") == 0
    [report] = json.loads(capsys.readouterr().out)
    assert {check["state"] for check in report["checks"]} == {"PASS", "SKIP"}
    assert vqbench("run", "tiny.yaml", "--plugin", "my_vq.py", "--only", "my_vq", "--quiet") == 0
    shown = capsys.readouterr().out
    assert re.search(r"^my_vq +0\.\d", shown, re.MULTILINE)
    assert "plain" not in shown
    [record] = ResultStore(here / "runs").records()
    assert record.run.quantizer.name == "my_vq"
    assert record.run.quantizer.args == {"num_codes": 16, "dim": 4, "beta": 0.25}
    assert vqbench("table", "tiny.yaml", "--plugin", "my_vq.py", "--json") == 0
    [table] = json.loads(capsys.readouterr().out)
    states = {cell["row"]: cell["status"] for cell in table["cells"] if cell["metric"] == "l1"}
    assert states.pop("my_vq") not in ("missing", "failed")
    assert set(states.values()) == {"missing"}


def test_an_edited_quantizer_trains_anew(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After an edit `run` trains the row again, and `plan`, cached or not, says so; after a comment neither does."""
    words = ("tiny.yaml", "--plugin", "my_vq.py", "--only", "my_vq")
    path = here / "my_vq.py"
    path.write_text(text := scaffold.text("quantizer", "my_vq"))

    def left() -> int:
        assert vqbench("plan", *words, "--json") == 0
        return json.loads(capsys.readouterr().out)["left"]

    assert vqbench("run", *words, "--jobs", "0", "--quiet") == 0
    capsys.readouterr()
    assert left() == 0
    path.write_text(text.replace("self.beta * F", "2 * self.beta * F"))
    assert left() == 1
    assert vqbench("run", *words, "--jobs", "0", "--quiet") == 0
    capsys.readouterr()
    assert left() == 0
    records = list(ResultStore(here / "runs").records())
    assert len({record.history[0]["loss"] for record in records}) == len(records) == 2
    path.write_text("# as before\n" + text)
    assert left() == 0


@pytest.mark.parametrize(
    ("name", "cls"), [("my_vq", "MyVQ"), ("tsq", "TSQ"), ("online_clustered_vq2", "OnlineClusteredVQ2")]
)
def test_the_class_is_named_after_the_file(name: str, cls: str) -> None:
    """Words are capitalised, and what has no vowel is an abbreviation."""
    assert f"\nclass {cls}(Quantizer):" in scaffold.text("quantizer", name)
    compile(scaffold.text("quantizer", name), f"{name}.py", "exec")


def test_new_overwrites_nothing_and_takes_no_bad_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is not modified; names that are taken or cannot be modules are refused with exit code 2."""
    (here / "my_vq.py").write_text("mine")
    for kind, name, sentence in (
        ("quantizer", "my_vq", "is not overwritten"),
        ("quantizer", "vq", "is a quantizer already"),
        ("quantizer", "My VQ", "small letters"),
        ("quantizer", "../vq", "small letters"),
        ("quantizer", "class", "small letters"),
        ("quantiser", "new_vq", "did you mean 'quantizer'"),
    ):
        assert vqbench("new", kind, name) == 2
        assert sentence in capsys.readouterr().err
    assert (here / "my_vq.py").read_text() == "mine"
    assert {path.name for path in here.iterdir()} == {"my_vq.py", "tiny.yaml"}


# --- Rows -----------------------------------------------------------------------------------------------------------


def chosen(only: Sequence[str] = (), skip: Sequence[str] = (), *sets: Override) -> list[Override]:
    return select_rows(load_suite("tiny.yaml", sets), only, skip)


def labels(*sets: Override) -> list[str]:
    return list(dict.fromkeys(entry.label for entry in loading.load("tiny.yaml", [], sets).entries))


@pytest.mark.parametrize(
    ("only", "skip", "left"),
    [
        (["plain"], [], ["plain"]),
        (["vq"], [], ["plain", "grid (distance=l2)", "grid (distance=cosine)"]),
        (["vq"], ["grid"], ["plain"]),
        ([], ["vq"], ["cvq_offline"]),
        (["*l*"], [], ["plain", "cvq_offline"]),
        (["cvq_offline", "plain"], [], ["plain", "cvq_offline"]),
        ([], [], ["plain", "grid (distance=l2)", "grid (distance=cosine)", "cvq_offline"]),
    ],
)
def test_rows_are_chosen_by_label_or_quantizer(here: Path, only: list[str], skip: list[str], left: list[str]) -> None:
    """--only keeps, --skip drops, by label or quantizer, in the order of the file; the runs stay the same runs."""
    changes = chosen(only, skip)
    assert labels(*changes) == left
    whole = {run.key for run in loading.load("tiny.yaml", []).runs()}
    assert {run.key for run in loading.load("tiny.yaml", [], changes).runs()} <= whole


@pytest.mark.parametrize(
    ("only", "skip", "sentence"),
    [(["plian"], [], "did you mean 'plain'"), ([], ["z*"], "'z*'"), (["plain"], ["vq"], "leave no row")],
)
def test_a_choice_that_fits_nothing_is_one_sentence(
    here: Path, only: list[str], skip: list[str], sentence: str
) -> None:
    """A pattern without a row, and a choice that leaves none, are wrong usage."""
    with pytest.raises(UsageError) as caught:
        chosen(only, skip)
    assert sentence in str(caught.value)


def test_a_choice_is_a_variant(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some rows of a suite are resolved, and kept in the store, apart from the whole, which is not disturbed."""
    assert vqbench("run", "tiny.yaml", "--only", "plain", "--quiet") == 0
    assert [path.stem for path in (here / "runs" / "suites").iterdir()] != ["tiny"]
    assert vqbench("plan", "tiny.yaml", "--json") == 0
    out = capsys.readouterr().out
    runs = json.loads(out[out.index('{\n "suite"') :])
    assert (runs["distinct"], runs["left"]) == (3, 2)  # the row that was run is one of the grid's too
    assert vqbench("plan", "tiny.yaml", "--only", "plain", "--json") == 0
    assert json.loads(capsys.readouterr().out)["left"] == 0


def test_a_plugin_gets_a_row_unless_it_has_one(here: Path) -> None:
    """A file's quantizer that no row names is appended with its defaults; one that is named, or its preset, is not."""
    source = scaffold.text("quantizer", "my_vq")
    preset = '    presets: ClassVar[dict] = {"loud_vq": {"beta": 1.0}}\n\n    # The suite'
    (here / "my_vq.py").write_text(source.replace("    # The suite", preset, 1))
    registry.add_file("my_vq.py")
    assert labels(*chosen())[-1] == "my_vq"
    for rows in (
        "quantizers=[vq, my_vq]",
        "quantizers=[vq, {my_vq: {beta: 1.0}, label: loud}]",
        "quantizers=[loud_vq]",
    ):
        assert chosen((), (), Override.parse(rows)) == []


def test_a_plugin_of_another_kind_gets_no_row(here: Path) -> None:
    """A file that brings a metric changes no rows."""
    (here / "my_l1.py").write_text("from vqbench.metrics.l1 import L1\n\n\nclass Mine(L1):\n    label = 'mine'\n")
    registry.add_file("my_l1.py")
    assert registry.added("metrics") == ["my_l1"]
    assert chosen() == []


# --- A package ------------------------------------------------------------------------------------------------------

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "vqbench-stranger"
version = "1.0"

[tool.setuptools]
packages = ["stranger"]

[project.entry-points."vqbench.quantizers"]
stranger_vq = "stranger.vectors"
stranger_class = "stranger.vectors:StrangerVQ"
broken_vq = "stranger.broken"
quitting_vq = "stranger.quitting"
number_vq = "stranger:NUMBER"
vq = "stranger.vectors"

[project.entry-points."vqbench.metrics"]
stranger_l1 = "stranger.metric"

[project.entry-points."vqbench.datasets"]
broken_data = "stranger.absent"
"""
METRIC = '''
from vqbench.metrics.l1 import L1


class Louder(L1):
    """Twice the mean absolute difference."""

    label = "louder"

    def values(self, batch):
        return 2 * super().values(batch)
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a wheel with plugins, built here, is installed."""
    folder = tmp_path_factory.mktemp("stranger")
    package = folder / "source" / "stranger"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").write_text("NUMBER = 42\n")
    (package / "vectors.py").write_text(scaffold.text("quantizer", "stranger_vq"))
    (package / "broken.py").write_text("import nowhere_at_all\n")
    (package / "quitting.py").write_text("raise SystemExit(3)\n")
    (package / "metric.py").write_text(METRIC)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    for words in (
        ["wheel", "--no-deps", "--no-build-isolation", "-w", folder, package.parent],
        ["install", "--no-deps", "--no-index", "--target", folder / "site", "--find-links", folder, "vqbench-stranger"],
    ):
        done = subprocess.run([*pip, *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "site"


def installed(site: Path, cwd: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process that has the plugin's package."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "vqbench", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_a_package_s_plugins_are_listed_with_their_faults(site: Path, tmp_path: Path) -> None:
    """Installed plugins are listed like built-in ones, broken ones with their cause; built-in names win."""
    done = installed(site, tmp_path, "list", "quantizers", "--json")
    assert done.returncode == 0, done.stderr
    about = {row["name"]: row["about"] for row in json.loads(done.stdout)}
    origin = {row["name"]: row["origin"] for row in json.loads(done.stdout)}
    for name in ("stranger_vq", "stranger_class"):
        assert origin[name] == "package"
        assert about[name].startswith("The nearest code")
    assert "No module named 'nowhere_at_all'" in about["broken_vq"]
    assert "SystemExit(3)" in about["quitting_vq"]
    assert "must define exactly one subclass of Quantizer" in about["number_vq"]
    assert origin["vq"] == "built-in"
    assert about["vq (stranger.vectors)"] == "BROKEN: the name 'vq' is taken by vqbench.quantizers.vq"
    assert all(text.startswith("BROKEN") for name, text in about.items() if "broken" in name or "quitting" in name)


def test_a_package_s_quantizer_is_checked_and_run(site: Path, here: Path) -> None:
    """A suite names an installed quantizer and metric like built-in ones, whatever is broken beside them."""
    some = ("--only", "constructor", "--only", "ranks_agree")
    done = installed(site, here, "check", "stranger_vq", *some, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    [report] = json.loads(done.stdout)
    assert [check["state"] for check in report["checks"]] == ["PASS", "PASS"]
    words = ("--set", "quantizers=[stranger_vq]", "--metrics", "stranger_l1", "--quiet")
    done = installed(site, here, "run", "tiny.yaml", *words)
    assert done.returncode == 0, done.stderr
    assert "louder" in done.stdout
    [record] = ResultStore(here / "runs").records()
    values = next(iter(record.values.values()))
    assert values["stranger_l1"].value == pytest.approx(2 * values["l1"].value)
    done = installed(site, here, "run", "tiny.yaml", "--set", "quantizers=[broken_vq]")
    assert done.returncode == 2
    assert "nowhere_at_all" in done.stderr
    assert done.stderr.count("\n") == 1


def test_one_fault_is_printed_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checks that fail with the same error are named below the first of them; JSON has each."""
    results = [Result(name, "FAIL", "IndexError: 64 is too many", f"do {name}") for name in ("shapes", "bits", "sizes")]
    results.insert(1, Result("budget", "PASS", "The budget is kept."))
    shown = check.report_text(Report("quantizers", "mine", "", results))
    assert shown.count("IndexError") == 1
    assert "and 2 more checks with the same error: bits, sizes" in shown
    assert shown.endswith("3 FAIL, 1 PASS")
    assert len(check.report_data(Report("quantizers", "mine", "", results))["checks"]) == 4
