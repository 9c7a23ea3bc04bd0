"""`vqbench merge`: summary, conflicts, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_json import require
from tests.store.test_merging import FIRST, SECOND, change_value, files, store
from tests.support.tiny_suite import vqbench


def test_a_merge_says_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts of all runs; a conflict with both values and exit code 1; the other runs are merged."""
    monkeypatch.chdir(tmp_path)
    a, b = store(Path("a"), FIRST), store(Path("b"), FIRST, SECOND)
    assert vqbench("merge", "a", "b", "--dry-run") == 0
    assert capsys.readouterr().out == "a, if merged: 1 run copied, 1 run there already.\n"
    change_value(b)
    before = files(a.root)
    assert vqbench("merge", "a", "b") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert f"conflict: {a.folder(FIRST).name}: clean/psnr is 20.5 in a, 20.25 in b" in out
    assert out.endswith("a: 1 run copied, 1 run in conflict.")
    assert before.items() < files(a.root).items()


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON keeps its schema, with conflicts and unfinished runs."""
    store(tmp_path / "a", FIRST)
    change_value(b := store(tmp_path / "b", FIRST, SECOND))
    (b.folder(SECOND) / "record.json").unlink()
    assert vqbench("merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out", "--json") == 1
    data = json.loads(capsys.readouterr().out)
    require("merge", data)
    assert [len(data[state]) for state in ("copied", "conflict", "unfinished")] == [0, 1, 1]


@pytest.mark.parametrize("output", ["a/out", "link/deep/out", "b/" + FIRST.dataset.name])
def test_an_output_inside_a_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """A folder that is only read gets no results folder inside it, also by a link; nothing is written."""
    monkeypatch.chdir(tmp_path)
    store(Path("a"), FIRST)
    store(Path("b"), SECOND)
    Path("link").symlink_to("b")
    before = files(tmp_path)
    assert vqbench("merge", "a", "b", "-o", output) == 2
    shown = capsys.readouterr()
    assert "is inside" in shown.err
    assert (shown.out, len(shown.err.splitlines())) == ("", 1)
    assert files(tmp_path) == before
    assert vqbench("merge", "a", "b", "-o", "a-and-b") == 0, "a name that only begins alike"


def test_an_unwritable_target_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target below a file, or one that is a file, is one sentence, and the sources are unchanged."""
    store(tmp_path / "a", FIRST)
    store(tmp_path / "b", SECOND)
    (tmp_path / "file").write_text("")
    before = files(tmp_path)
    assert vqbench("merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "file") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize(("a", "b", "words"), [("a", "a", "the same folder"), ("a", "none", "does not exist")])
def test_wrong_folders(a: str, b: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One folder twice, or one that does not exist, is wrong usage."""
    store(tmp_path / "a", FIRST)
    assert vqbench("merge", tmp_path / a, tmp_path / b) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_in_place_of_a_run_costs_that_run_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies in the place of a run's folder is named, and the runs after it are merged."""
    monkeypatch.chdir(tmp_path)
    a, b = store(Path("a")), store(Path("b"), FIRST, SECOND)
    first, second = sorted((a.folder(FIRST), a.folder(SECOND)))
    a.root.mkdir(exist_ok=True)
    if kind == "file":
        first.write_text("kept")
    else:
        first.symlink_to("nowhere")
    assert vqbench("merge", "a", b.root) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert f"unreadable: {first.name}: a/{first.name}: has the name of a run or row, but is no folder; remove it" in out
    assert out.endswith("a: 1 run copied, 1 run unreadable.")
    assert (second / "record.json").exists()
    assert vqbench("verify", "a") == 1
    assert "has the name of a run or row, but is no folder" in " ".join(capsys.readouterr().out.split())
