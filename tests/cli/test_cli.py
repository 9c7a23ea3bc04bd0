"""The command line: every command does its work, and every mistake is one sentence and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vqbench.cli import app
from vqbench.cli.options import Selection
from vqbench.errors import UsageError
from vqbench.execution import suite_runner
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

KINDS = ("quantizers", "datasets", "metrics", "backbones", "recipes", "suites", "protocols")


def vqbench(*words: object) -> int:
    return app.run_words([str(word) for word in words])


@pytest.mark.parametrize("kind", KINDS)
def test_list_and_info_know_everything(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever ``list`` names, ``info`` describes, as text and as JSON."""
    assert vqbench("list", kind, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed
    assert not [row for row in listed if row["about"].startswith("BROKEN")]
    for row in listed:
        assert vqbench("info", kind[:-1], row["name"]) == 0
        assert capsys.readouterr().out.strip()
        assert vqbench("info", kind[:-1], row["name"], "--json") == 0
        assert json.loads(capsys.readouterr().out)


def test_info_protocol_gives_every_knob_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Both uses of a protocol's name are described setting by setting."""
    for name in ("official", "clean"):
        assert vqbench("info", "protocol", name, "--json") == 0
        data = json.loads(capsys.readouterr().out)
        assert set(data) == {"train", "measure"}
        assert all(knob["reason"] for knobs in data.values() for knob in knobs.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("frobnicate",), "frobnicate"),
        (("run", "quikc"), "quick"),
        (("run", "quick", "--set", "train.clean.epoch=1"), "epochs"),
        (("run", "quick", "--metrics", "psnrr"), "psnr"),
        (("run", "quick", "--plugin", "nowhere.py"), "nowhere.py"),
        (("list", "quantisers"), "quantizers"),
        (("info", "quantizer", "vqq"), "vq"),
        (("info", "protocol", "oficial"), "official"),
        (("table", "quick", "--format", "html"), "latex"),
    ],
)
def test_wrong_usage_is_one_sentence(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake on the command line ends with exit code 2 and one line on stderr that names what would be right."""
    monkeypatch.chdir(tmp_path)
    assert vqbench(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "runs").exists(), "nothing was started"


def test_debug_shows_where(tmp_path: Path) -> None:
    """--debug, wherever it stands, turns the sentence back into the exception that it was made of."""
    for words in (("--debug", "run", "quikc"), ("run", "quikc", "--debug")):
        with pytest.raises(UsageError, match="quikc"):
            vqbench(*words)


def test_plan_and_status_of_a_suite_that_was_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plan lists the runs that the paper's suites need, with their updates; status says that none has begun."""
    for suite, runs, updates in (("small_datasets", 8, 29_500), ("ablation", 15, 29_500), ("anchors", 16, 29_500)):
        assert vqbench("plan", suite, "--store", tmp_path, "--results", tmp_path / "none", "--json") == 0
        plan = json.loads(capsys.readouterr().out)
        assert (plan["distinct"], plan["left"]) == (runs, runs)
        assert {row["updates"] for row in plan["runs"] if row["data set"] == "mnist"} == {updates}
        assert {row["updates"] for row in plan["runs"] if row["data set"] == "cifar10"} == {24_500}
    assert vqbench("status", "quick", "--store", tmp_path, "--json") == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)["runs"]} == {"not begun"}


def test_plan_says_which_runs_suites_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows that two of the paper's tables have in common are named as shared, wherever one asks."""
    assert vqbench("plan", "ablation", "--store", tmp_path, "--results", tmp_path / "none", "--json") == 0
    shared = {
        (row["row"][0], row["data set"]): row["shared with"] for row in json.loads(capsys.readouterr().out)["runs"]
    }
    assert "small_datasets" in shared["A", "mnist"]
    assert "small_datasets" in shared["E", "cifar10"]
    assert "anchors" in shared["C", "mnist"]
    assert "anchors" in shared["D", "cifar10"]
    assert shared["B", "mnist"] == []
    assert shared["A", "fashion_mnist"] == []


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "latex"])
def test_the_paper_s_values_stand_in_a_table_of_nothing(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything was run, ``table --paper`` prints the 40 printed values of B.1, each with NOT RUN."""
    from vqbench.reporting import paper

    words = ("table", "small_datasets", "--paper", "--format", style, "--store", tmp_path, "--results", tmp_path / "no")
    assert vqbench(*words) == 0
    shown = capsys.readouterr().out
    printed = [value.printed for value in paper.values("B.1")]
    assert len(printed) == 40
    assert [value for value in printed if value not in shown] == []
    assert "NOT RUN" in shown.upper()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("--set", "train=clean"), "trained under clean"),
        (("--set", "train={official: {epochs: 5}}"), "trained under official with other epochs"),
        (("--set", "codebook.num_codes=64"), "another backbone or codebook"),
        (("--epochs", "5"), "reduced training"),
        (("--test-images", "1000"), "measured under official@1000"),
    ],
)
def test_what_was_not_trained_and_measured_as_printed_gets_no_verdict(
    change: tuple[str, str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of a changed suite are NOT COMPARABLE with the printed ones, and the reason is said."""
    from vqbench.planning import loading
    from vqbench.planning.overrides import Override

    words = (*change, "--store", tmp_path, "--results", tmp_path / "none")
    assert vqbench("plan", "small_datasets", *words) == 0
    sizes = {"--epochs": {"epochs": 5}}.get(change[0], {})
    images = int(change[1]) if change[0] == "--test-images" else None
    overrides = [Override.parse(change[1])] if change[0] == "--set" else []
    plan = loading.load("small_datasets", [], overrides, (), sizes, images)
    store = ResultStore(tmp_path)
    told = {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}}
    for run in plan.runs():
        values = {name: {metric: Value(0.02, 1, 1, 9) for metric in metrics} for name, metrics in plan.wanted().items()}
        store.write(Record(run, values, told))
    capsys.readouterr()
    assert vqbench("table", "small_datasets", "--paper", "--json", *words) == 0
    official = json.loads(capsys.readouterr().out)[0]
    verdicts = {cell["verdict"] for cell in official["cells"] if cell["paper"]}
    assert verdicts == {"NOT COMPARABLE"}
    assert vqbench("table", "small_datasets", "--paper", *words) == 0
    assert reason in " ".join(capsys.readouterr().out.split())


def test_output_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o writes what would have been printed, and a folder that is not there is one sentence."""
    words = ("table", "quick", "--store", tmp_path, "--results", tmp_path / "none")
    assert vqbench(*words) == 0
    printed = capsys.readouterr().out
    assert vqbench(*words, "-o", tmp_path / "table.txt") == 0
    assert (tmp_path / "table.txt").read_text() == printed
    assert vqbench(*words, "-o", tmp_path / "absent" / "table.txt") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_doctor_names_what_numbers_depend_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Doctor reports the libraries' versions, the state of every asset, and no problem on a machine where tests run."""
    from vqbench.conformance import golden

    monkeypatch.setattr(golden, "GROUPS", golden.GROUPS[:1])  # the others have a test of their own
    assert vqbench("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert found["broken plugins"] == []
    assert {"torch", "lpips", "torch-fidelity"} <= found["versions"].keys()
    assert "inception_fid" in found["assets"]


def test_prepare_offline_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an empty cache and --offline, prepare fails at once and names the missing asset and what to do."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VQBENCH_OFFLINE", "0")
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    assert vqbench("prepare", "quick", "--store", tmp_path, "--offline") == 1
    said = capsys.readouterr().err
    assert "vgg16_lpips" in said
    assert said.count("\n") == 1


def test_results_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A results folder that cannot be one is named, and left."""
    (tmp_path / "runs").write_text("mine")
    assert vqbench("run", "quick", "--store", tmp_path / "runs") == 1
    assert "not a folder" in capsys.readouterr().err
    assert (tmp_path / "runs").read_text() == "mine"


def test_a_thousand_records_make_a_table_without_torch(tmp_path: Path) -> None:
    """A table over 1,000 stored runs comes from the kept keys alone: neither torch nor a plugin is imported."""
    suite = tmp_path / "wide.yaml"
    betas = ", ".join(f"{0.001 * number:.3f}" for number in range(1, 1001))
    suite.write_text(
        "name: wide\ntrain: {clean: {epochs: 1}}\ndatasets: [fashion_mnist_5k]\n"
        f"quantizers: [{{vq: {{beta: [{betas}]}}}}]\nmetrics: [l1, psnr]\nmeasure: [clean]\n"
    )
    from vqbench.planning import loading, plan_file

    store = ResultStore(tmp_path / "runs")
    plan = loading.load(suite, [store])
    plan_file.save(plan, store)
    told = {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}}
    for run in plan.runs():
        store.write(Record(run, {"clean": {name: Value(0.5, 1, 1, 1000) for name in ("l1", "psnr")}}, told))
    command = [sys.executable, "-X", "importtime", "-m", "vqbench", "table", str(suite), "--store", str(store.root)]
    started = time.monotonic()
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    print(f"{time.monotonic() - started:.2f} s for 1,000 records")
    assert shown.stdout.count("0.5000") == 1000
    assert not [line for line in shown.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]


def test_a_command_without_a_suite_says_which_one_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` and all other commands take `quick` where no suite is named, and print that."""
    monkeypatch.setattr(suite_runner, "run_suites", lambda *_: suite_runner.SuiteSummary(attempted=1))
    assert vqbench("run", "--store", tmp_path) == 0
    assert "vqbench: No suite given: running quick\n" in capsys.readouterr().err
    assert vqbench("status", "--store", tmp_path) == 0
    assert "vqbench: No suite given: showing quick\n" in capsys.readouterr().err
    assert vqbench("status", "quick", "--store", tmp_path) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["table", "status", "report"])
def test_a_store_that_does_not_exist_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt --store is an error instead of a table without values; the default one may not exist yet."""
    monkeypatch.chdir(tmp_path)
    assert vqbench(command, "quick", "--store", "rums") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("vqbench: --store rums: this folder does not exist")
    assert vqbench(command, "quick") == 0


@pytest.mark.parametrize("command", ["run", "plan", "status", "table", "report", "prepare", "publish", "clean"])
def test_every_command_passes_all_options_of_a_selection_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option that changes a suite arrives under its own name, in every command that takes a suite."""
    selections: list[Selection] = []

    def plan(selection: Selection, *_: object, **__: object) -> None:
        selections.append(selection)
        raise UsageError("enough")

    monkeypatch.setattr(Selection, "plan", plan)
    words = ("--only", "a", "--skip", "b", "--seeds", "1,2", "--metrics", "c", "--set", "d=1", "--plugin", "e.py")
    sizes = ("--epochs", 1, "--batch-size", 2, "--subset", 3, "--test-images", 4)
    assert vqbench(command, "quick", "--store", tmp_path, *words, *sizes) == 2
    assert selections == [Selection(["a"], ["b"], "1,2", ["c"], ["d=1"], [Path("e.py")], 1, 2, 3, 4)]


def test_every_command_is_in_the_readme() -> None:
    """The README's table of commands has every command that there is, and the help has a sentence on each."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for command in app.app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert f"`{name}" in readme, name
        assert command.callback.__doc__


def test_a_run_of_another_version_is_not_done(tmp_path: Path) -> None:
    """Raising a plugin's VERSION names another run: its old record does not count."""
    store = ResultStore(tmp_path)
    run = RunSpec(*(PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "mnist", "vq")), seed=1)
    store.write(Record(run, {}, {"seconds": 1.0}))
    newer = RunSpec(run.recipe, run.backbone, run.dataset, PluginSpec("vq", 2, {}), seed=1)
    assert run in store
    assert newer not in store
