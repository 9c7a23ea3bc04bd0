"""Loggers: named, loaded, and called."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import plugin
from tests.support.tiny_suite import command, vqbench, write
from vqbench.errors import UsageError
from vqbench.execution import loggers

pytestmark = pytest.mark.integration

INFO = loggers.RunInfo("0a1b2c3d4e5f6071", "vq", {"seed": 42}, Path("run"))


@pytest.mark.parametrize(
    "name",
    [
        *("nothing", "no.such:thing", "json:nothing", ":b", "a:", ":", "..x:y", "math:pi", "absent.py:f", "ends.py:f"),
        *("fails.py:f", "fails.py:", "beside:f", "fails.py"),
    ],
)
def test_unknown_loggers_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name, and a file or module that fails, gives one sentence before any training."""
    monkeypatch.chdir(tmp_path)
    for file, text in {"ends": "raise SystemExit(0)", "fails": "1 / 0", "beside": "f = print"}.items():
        (tmp_path / f"{file}.py").write_text(text)
    with pytest.raises(UsageError, match="--logger") as caught:
        loggers.checked_name(name)
    assert "\n" not in str(caught.value)
    if name == "beside:f":  # which is not installed
        assert "give a file as FILE.py:f" in str(caught.value)


def test_a_logger_in_a_file_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--logger FILE.py:name`` is passed on with the file's whole path, for processes that work elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def f(info):\n    return info\n")
    name = loggers.checked_name("mine.py:f")
    monkeypatch.chdir("/")
    assert loggers.load_logger(name)(INFO) is INFO  # type: ignore[comparison-overlap]  # it returns what it is given


# A logger that writes all calls to a file, one JSON list a line.
WRITES = """
import json
from vqbench.execution.loggers import RunLogger

class Writes(RunLogger):
    def __init__(self, info):
        self.path = info.folder / "calls.jsonl"
        self.write("open", info.key, info.label, info.config())

    def write(self, *call):
        with self.path.open("a") as file:
            file.write(json.dumps(call) + "\\n")

    def log_updates(self, step, losses): self.write("updates", step, losses)
    def log_epoch(self, epoch, numbers): self.write("epoch", epoch, numbers)
    def log_values(self, values): self.write("values", values)
    def close(self, outcome): self.write("close", outcome)
"""


def calls_of(store: Path) -> list[list[Any]]:
    [path] = store.glob("*/calls.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_logger_receives_a_run_from_start_to_end(tmp_path: Path) -> None:
    """Facts, mean losses every 50 updates, each epoch, all values and the end, equal to what the record keeps; later,
    an added metric comes with all values and without a training."""
    (tmp_path / "writes.py").write_text(WRITES)
    suite, store = write(tmp_path, "{vq: {}, label: VQ-VAE}", epochs=2), tmp_path / "runs"
    line = ("run", suite, "--store", store, "-q", "--logger", f"{tmp_path}/writes.py:Writes")
    assert vqbench(*line) == 0
    opened, *calls = calls_of(store)
    record = json.loads(next(store.glob("*/record.json")).read_text())
    assert opened[:3] == ["open", record["key"], "VQ-VAE"]
    assert opened[3]["quantizer"] == "vq"
    assert opened[3]["recipe.epochs"] == 2
    assert [call[:2] for call in calls[:-2]] == [["updates", 50], ["epoch", 1], ["updates", 100], ["epoch", 2]]
    history = record["history"]
    for epoch, (_, number, numbers) in enumerate(call for call in calls if call[0] == "epoch"):
        assert number == history[epoch]["epoch"]
        assert numbers == {name: history[epoch][name] for name in numbers}
        assert {"loss", "usage", "perplexity"} <= numbers.keys()
    values = {name: value["value"] for name, value in record["values"]["clean"].items()}
    assert calls[-2:] == [["values", {"clean": values}], ["close", "done"]]
    assert vqbench(*line, "--metrics", "ssim") == 0
    again = calls_of(store)[len(calls) + 1 :]
    assert [call[0] for call in again] == ["open", "values", "close"]
    assert again[1][1]["clean"].keys() == {*values, "ssim"}


def test_means_of_updates_are_those_since_the_last_report(tmp_path: Path) -> None:
    """Two means of 50 updates each give the mean of an epoch of 100."""
    (tmp_path / "writes.py").write_text(WRITES)
    suite, store = write(tmp_path, "vq"), tmp_path / "runs"
    line = ("run", suite, "--store", store, "-q", "--logger", f"{tmp_path}/writes.py:Writes")
    assert vqbench(*line, "--batch-size", 35) == 0  # 100 updates
    [first, second] = (call[2] for call in calls_of(store) if call[0] == "updates")
    [epoch] = (call[2] for call in calls_of(store) if call[0] == "epoch")
    assert (first["loss"] + second["loss"]) / 2 == pytest.approx(epoch["loss"], rel=1e-5)
    assert first["loss"] != second["loss"]


def test_a_failed_run_is_closed_as_failed(tmp_path: Path) -> None:
    """The logger of a run that fails in its second epoch has the first one and the outcome."""
    (tmp_path / "writes.py").write_text(WRITES)
    suite, store = write(tmp_path, "fails", epochs=2), tmp_path / "runs"
    fails = plugin(tmp_path, "fails", "1 / 0", after=60)
    line = ("run", suite, "--store", store, "-q", "--plugin", fails, "--logger", f"{tmp_path}/writes.py:Writes")
    assert subprocess.run(command(*line), stdout=subprocess.DEVNULL, check=False).returncode == 1
    assert [call[0] for call in calls_of(store)] == ["open", "updates", "epoch", "close"]
    assert calls_of(store)[-1] == ["close", "failed"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def f(info): return print", "builtin_function_or_method, which has no method log_updates"),
        ("def f(info): 1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(info): raise SystemExit(0)", "SystemExit: 0"),
        ("def f(info): raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_a_logger_that_fails_stops_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, sentence: str
) -> None:
    """A logger's error, or a return value that is no logger, is one line in the progress; the run ends as it would."""
    (tmp_path / "mine.py").write_text(code)
    line = ("run", write(tmp_path, "vq"), "--store", tmp_path / "runs", "--logger", f"{tmp_path}/mine.py:f")
    assert vqbench(*line) == 0
    shown = capsys.readouterr().err
    assert shown.count("failed and is not called again") == 1
    assert sentence in shown


def test_a_logger_does_not_hide_ctrl_c(tmp_path: Path) -> None:
    """Where Ctrl-C raises KeyboardInterrupt, it passes through the logger that is called then."""
    (tmp_path / "mine.py").write_text("def f(info): raise KeyboardInterrupt")
    shown: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        loggers.GuardedLogger(f"{tmp_path}/mine.py:f", INFO, shown.append).updates(1, {})
    loggers.GuardedLogger(f"{tmp_path}/mine.py:f", INFO, shown.append, interruptible=False).updates(1, {})
    assert len(shown) == 1


def test_a_logger_that_ends_its_process_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """os._exit(0) of a logger, which nothing can catch, is one failure, and not an endless restart."""
    (tmp_path / "mine.py").write_text("import os\ndef f(info): os._exit(0)")
    line = ("run", write(tmp_path, "vq"), "--store", tmp_path / "runs", "--logger", f"{tmp_path}/mine.py:f")
    assert vqbench(*line) == 1
    assert "its process ended with exit code 0 before its run was done, as by os._exit" in capsys.readouterr().err


def test_tensorboard_is_written(tmp_path: Path) -> None:
    """Losses, epochs and values are scalars in the folder of the run."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = loggers.TensorBoard(replace(INFO, folder=tmp_path))
    writer.log_updates(50, {"loss": 2.0})
    writer.log_epoch(1, {"usage": 3.0})
    writer.log_values({"clean": {"psnr": 24.0}})
    writer.close("done")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {"updates/loss": [(50, 2.0)], "epochs/usage": [(1, 3.0)], "clean/psnr": [(0, 24.0)]}
