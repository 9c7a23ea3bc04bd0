"""External rows that are damaged, half written or in conflict cost themselves alone, and nothing that was measured."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_suite import vqbench
from vqbench import registry

STORE = ("--suite", "quick", "--metrics", "l1", "--row", "Mine", "-q")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve test images, two versions of them, and a row of the first."""
    folder = tmp_path_factory.mktemp("rows")
    images = registry.create("datasets", "fashion_mnist_5k").pixels("test")[:12].numpy()  # type: ignore[attr-defined]
    for name, levels in (("originals", images), ("darker", images // 2), ("black", images * 0)):
        np.save(folder / f"{name}.npy", levels)
    words = (folder / "originals.npy", folder / "darker.npy", "--runs", folder / "runs", "--store", folder / "measured")
    assert vqbench("measure", *words, *STORE) == 0
    return folder


@pytest.fixture(autouse=True)
def row(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the row, in a copy of all that is the current folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (found,) = Path("runs").glob("external-*")
    return found


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """All that was printed, on one line."""
    shown = capsys.readouterr()
    return " ".join((shown.out + shown.err).split())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"], ids=["empty", "truncated", "text"])
def test_damaged_values_per_image(content: bytes, row: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values per image that cannot be read are named with what helps; the row is neither merged nor published."""
    (row / "per_image.npz").write_bytes(content)
    Path("other").mkdir()
    capsys.readouterr()
    for words in (("verify", "runs"), ("merge", "other", "runs"), ("publish", "quick", "--store", "runs")):
        assert vqbench(*words) == 1
        shown = said(capsys)
        assert "per_image.npz: not values per image (" in shown
        assert "delete its folder and measure again" in shown
        assert "vqbench run" not in shown
    assert not list(Path("other").iterdir())
    assert not Path("results").exists()


def test_a_row_that_cannot_be_stored_is_printed(row: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another row is refused before it is measured; a damaged one stays, and new values are printed, then why."""
    capsys.readouterr()
    assert vqbench("measure", "originals.npy", "black.npy", *STORE) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "of other reconstructions or codes" in shown.err
    (row / "external.json").write_bytes(b"{")
    assert vqbench("measure", "originals.npy", "darker.npy", *STORE) == 1
    shown = capsys.readouterr()
    assert "l1" in shown.out
    assert "not a record of an external row" in shown.err
    assert "measured, but not stored: the row 'Mine'" in shown.err
    assert (row / "external.json").read_bytes() == b"{"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_full_disk(row: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that no longer fits is printed; what was half written is unfinished, and the same command completes it."""
    shutil.rmtree(row)
    sync = os.fsync

    def full(number: int) -> None:
        if os.readlink(f"/proc/self/fd/{number}").rpartition("/")[2].startswith(".external.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(number)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert vqbench("measure", "originals.npy", "darker.npy", *STORE) == 1
    shown = capsys.readouterr()
    assert "l1" in shown.out
    assert "No space left on device" in shown.err
    assert vqbench("verify", "runs") == 0
    assert f"{row}: not finished" in said(capsys)
    assert vqbench("measure", "originals.npy", "darker.npy", *STORE) == 0
    assert vqbench("verify", "runs") == 0
    assert "1 external row" in said(capsys)


def test_a_file_in_place_of_a_row(row: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that has the name of a row costs this row alone, and verify names it."""
    Path("other").mkdir()
    (Path("other") / row.name).write_text("kept")
    assert vqbench("measure", "originals.npy", "black.npy", *STORE[:-2], "Other", "-q") == 0
    capsys.readouterr()
    assert vqbench("merge", "other", "runs") == 1
    shown = said(capsys)
    assert f"unreadable: {row.name}: other/{row.name}: has the name of a run or row, but is no folder" in shown
    assert "1 run copied, 1 run unreadable" in shown
    assert vqbench("verify", "other") == 1
    assert "is no folder; remove it" in said(capsys)
    assert (Path("other") / row.name).read_text() == "kept"
