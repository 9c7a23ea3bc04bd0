"""Loggers: named, loaded, and written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqbench.errors import UsageError
from vqbench.execution import callbacks
from vqbench.spec import PluginSpec, RunSpec

RUN = RunSpec(*(PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "few", "vq")), seed=42)


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
        callbacks.checked_name(name)
    assert "\n" not in str(caught.value)
    if name == "beside:f":  # which is not installed
        assert "give a file as FILE.py:f" in str(caught.value)


def test_a_logger_in_a_file_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--logger FILE.py:name`` is passed on with the file's whole path, for processes that work elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def f(run, folder):\n    return folder\n")
    name = callbacks.checked_name("mine.py:f")
    monkeypatch.chdir("/")
    assert callbacks.load_logger(name)(None, tmp_path) == tmp_path


def test_tensorboard_is_written(tmp_path: Path) -> None:
    """Every number of an epoch is logged as a scalar in the folder of the run."""
    pytest.importorskip("tensorboard")
    callbacks.tensorboard(RUN, tmp_path)({"epoch": 1, "loss": 2.0, "usage": 3.0, "selection_error": None})
    [path] = (tmp_path / "tensorboard").iterdir()
    assert b"usage" in path.read_bytes()
