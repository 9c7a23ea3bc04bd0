"""Status, table and report name the settings under which a store has runs of a suite."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.image_folders import noise
from tests.support.tiny_suite import vqbench, write
from vqbench import registry
from vqbench.cli.options import Selection
from vqbench.planning import plan_file
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore


@pytest.fixture
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the files that other tests added, and those of this one."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    yield
    registry.sources.cache_clear()


MADE = {"seconds": 61.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}, "date": "2026-01-31T12:30:00Z"}


def store_runs(selection: Selection, suite: Path, store: ResultStore, finished: int | None = None) -> None:
    """Write a plan and its first records, as `vqbench run` does."""
    plan = selection.plan(str(suite), store.root)
    plan_file.save(plan, store)
    for run in plan.runs()[:finished]:
        values = {name: {metric: Value(0.5, *v, 9) for metric, v in ms.items()} for name, ms in plan.wanted().items()}
        store.write(Record(run, values, MADE))


def commands_of(shown: str) -> list[list[str]]:
    lines = [line for line in shown.splitlines() if line.startswith("  vqbench ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_the_named_commands_show_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With three settings in one store, each listed command shows runs where the plain one shows none."""
    monkeypatch.chdir(tmp_path)
    suite, store = write(tmp_path, "vq, {cvq: {}, label: CVQ 1}"), ResultStore("runs")
    store_runs(Selection(epochs=2, test_images=100), suite, store)
    store_runs(
        Selection(sets=["quantizers.vq.beta=0.5", "train.clean.learning_rate=1e-4"], seeds="1,2"), suite, store, 3
    )
    store_runs(Selection(sets=["datasets=[mnist, cifar10]"], only=["vq"]), suite, store)
    assert vqbench("status", "tiny.yaml", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["counts"] == {"not begun": 2}
    assert [(each["finished"], each["runs"]) for each in data["other_settings"]] == [(3, 4), (2, 2), (2, 2)]
    for each in data["other_settings"]:
        assert vqbench(*shlex.split(each["command"])[1:], "--json") == 0
        assert json.loads(capsys.readouterr().out)["counts"]["done"] == each["finished"]
    assert vqbench("table", "tiny.yaml", "--format", "csv") == 0
    plain = capsys.readouterr()
    assert "under other settings" in plain.err
    assert plain.err.endswith("finished\n")
    assert "0.5" not in plain.out
    for words in commands_of(plain.err):
        assert vqbench(*words, "--format", "csv") == 0
        again = capsys.readouterr()
        assert "0.5" in again.out
        assert again.err == ""


def test_a_suite_that_was_edited_names_its_earlier_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an edit of the file, the runs from before are named, with the keys that differ."""
    monkeypatch.chdir(tmp_path)
    suite, store = write(tmp_path, "vq, cvq", epochs=3), ResultStore("runs")
    store_runs(Selection(), suite, store)
    write(tmp_path, "vq, cvq", epochs=5)
    for command in ("report", "table"):
        assert vqbench(command, "tiny.yaml") == 0
        assert f"vqbench {command} tiny.yaml --set train.clean.epochs=3  # 2 of 2 runs" in capsys.readouterr().err


def test_images_that_changed_are_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with other images than before makes other runs; no command is named that would not show them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(100):
        (tmp_path / "images" / f"{number}.png").write_bytes(noise(number))
    suite, store = write(tmp_path, "vq"), ResultStore("runs")
    suite.write_text(suite.read_text().replace("[fashion_mnist_5k]", "[{photos: {folder: images, size: 32}}]"))
    store_runs(Selection(), suite, store)
    (tmp_path / "images" / "another.png").write_bytes(noise(100))
    assert vqbench("status", "tiny.yaml") == 0
    shown = capsys.readouterr().out
    assert "runs has 1 run of tiny.yaml from other versions of its plugins or of its images" in shown
    assert commands_of(shown) == []


def test_a_setting_that_was_asked_for_is_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of the suite as its file has it, or of some rows and other seeds, are named by a command that shows them."""
    monkeypatch.chdir(tmp_path)
    suite, store = write(tmp_path, "vq, cvq, identity"), ResultStore("runs")
    store_runs(Selection(), suite, store)
    store_runs(Selection(only=["vq", "cvq"], seeds="7,8"), suite, store)
    for words in (("--set", "train.clean.epochs=5"), ("--seeds", "9")):
        assert vqbench("table", "tiny.yaml", *words) == 0
        shown = capsys.readouterr().err
        assert "versions" not in shown
        assert commands_of(shown) == [
            ["table", "tiny.yaml", "--only", "vq", "--only", "cvq", "--seeds", "7,8"],
            ["table", "tiny.yaml"],
        ]


def test_runs_of_the_plan_itself_are_no_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer rows or seeds, or more metrics, are the same runs; and nothing is said of other suites."""
    monkeypatch.chdir(tmp_path)
    suite, store = write(tmp_path, "vq, cvq"), ResultStore("runs")
    store_runs(Selection(only=["vq"]), suite, store)
    store_runs(Selection(metrics=["perplexity"]), suite, store)
    store_runs(Selection(epochs=2), Path("quick"), store, 1)
    assert vqbench("status", "tiny.yaml") == 0
    shown = capsys.readouterr().out
    assert "2 runs: 2 done. Trained for 2m2s; the last one finished 2026-01-31 12:30 UTC." in shown
    assert "other settings" not in shown
    assert shown.endswith("Next: vqbench table tiny.yaml\n")
    assert vqbench("table", "tiny.yaml") == 0
    assert capsys.readouterr().err == ""


def test_status_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is left is run by the same selection; failed runs alone are retried, and their reasons stand below."""
    from vqbench.store.record import Failure

    monkeypatch.chdir(tmp_path)
    suite, store = write(tmp_path, "vq, cvq"), ResultStore("mine")
    selection = Selection(seeds="7")
    store_runs(selection, suite, store, 1)
    words = ("status", "tiny.yaml", "--store", "mine", "--seeds", "7")
    assert vqbench(*words) == 0
    assert capsys.readouterr().out.endswith("Next: vqbench run tiny.yaml --store mine --seeds 7\n")
    store.fail(selection.plan(str(suite)).runs()[1], Failure("loss became NaN at update 9", []))
    assert vqbench(*words) == 0
    shown = capsys.readouterr().out
    assert "2 runs: 1 done, 1 failed." in shown
    assert "cvq, seed 7: failed: loss became NaN at update 9" in shown
    assert shown.endswith("Next: vqbench run tiny.yaml --store mine --retry-failed --seeds 7\n")


def test_diff_names_the_settings_of_states_that_share_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders of one suite under different settings have no value in common; what each has is said."""
    monkeypatch.chdir(tmp_path)
    store_runs(Selection(only=["vq"], epochs=2), Path("quick"), ResultStore("a"))
    store_runs(Selection(only=["vq"], sets=["seeds=[7]", "train.clean.epochs=3"]), Path("quick"), ResultStore("b"))
    assert vqbench("diff", "a", "b") == 0
    shown = capsys.readouterr().out
    assert "0 values in both" in shown
    assert "a has quick --epochs 2 --only vq\nb has quick --set train.clean.epochs=3 --only vq --seeds 7\n" in shown
    assert vqbench("diff", "a", "a") == 0
    assert "a has" not in capsys.readouterr().out


ABSOLUTE = """
from vqbench.images import distinct
from vqbench.metric import ImageMetric


class Absolute(ImageMetric):
    label, better, digits = "absolute", "min", 4

    def values(self, batch):
        return (distinct(batch.originals) - distinct(batch.reconstructions)).abs().mean((1, 2, 3))
"""


def test_rows_metrics_and_plugins_of_the_command_are_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clean_registry: None
) -> None:
    """The named command has the plugin's column and the one row of the first, and as many runs as it promised."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "vq, cvq")
    Path("absolute.py").write_text(ABSOLUTE)
    plugin = Selection(only=["vq"], metrics=["absolute"], plugins=[Path("absolute.py")], epochs=2)
    store_runs(plugin, Path("tiny.yaml"), ResultStore("runs"))
    own = ("--plugin", "absolute.py", "--metrics", "absolute")
    for command, words in (("table", own), ("table", (*own, "--only", "vq")), ("status", own)):
        assert vqbench(command, "tiny.yaml", *words) == 0
        shown = "".join(capsys.readouterr())
        expected = f"vqbench {command} tiny.yaml --epochs 2 --plugin absolute.py --metrics absolute --only vq"
        assert f"  {expected}  # 1 of 1 run finished" in shown
    [words] = commands_of(shown)
    assert vqbench(*words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"done": 1}


def test_a_row_of_a_file_is_shown_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clean_registry: None
) -> None:
    """Runs of a quantizer in a file are named with --plugin, and not with a list of all rows."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "vq, cvq")
    Path("mine.py").write_text("from vqbench.quantizers.vq import VQ\n\n\nclass Mine(VQ):\n    pass\n")
    store_runs(Selection(plugins=[Path("mine.py")], epochs=2), Path("tiny.yaml"), ResultStore("runs"))
    assert vqbench("status", "tiny.yaml", "--plugin", "mine.py") == 0
    [words] = commands_of(capsys.readouterr().out)
    assert words == ["status", "tiny.yaml", "--epochs", "2", "--plugin", "mine.py"]
    assert vqbench("status", "tiny.yaml") == 0
    [words] = commands_of(capsys.readouterr().out)
    assert vqbench(*words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"done": 2}  # its rows are those of the command


def test_a_change_of_settings_is_not_called_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With runs of the plain suite, a table of more epochs names the plain command."""
    monkeypatch.chdir(tmp_path)
    suite, store = write(tmp_path, "vq, cvq"), ResultStore("runs")
    store_runs(Selection(), suite, store)
    for words in (("--set", "train.clean.epochs=50"), ("--epochs", "3")):
        assert vqbench("table", "tiny.yaml", *words) == 0
        shown = capsys.readouterr().err
        assert "  vqbench table tiny.yaml  # 2 of 2 runs finished" in shown
        assert "other versions" not in shown


def test_without_a_suite_the_suites_of_the_store_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a store has runs of another suite alone, the default one is not shown without a word of it."""
    monkeypatch.chdir(tmp_path)
    suite = write(tmp_path, "vq")
    store_runs(Selection(), suite, ResultStore("runs"))
    for command in ("status", "table"):
        assert vqbench(command) == 0
        expected = f"runs has no run of quick, but runs of other suites:\n  vqbench {command} tiny.yaml\n"
        assert expected in capsys.readouterr().err
    assert vqbench("status", "quick") == 0
    assert "other suites" not in capsys.readouterr().err
    store_runs(Selection(), Path("quick"), ResultStore("runs"), 1)
    assert vqbench("status") == 0
    assert "other suites" not in capsys.readouterr().err
