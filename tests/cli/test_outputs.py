"""What a command writes at its end is refused at its beginning if it cannot be written, and never half written."""

from __future__ import annotations

import errno
import os
from itertools import product
from pathlib import Path

import pytest

from tests.support.image_folders import noise
from tests.support.tiny_suite import vqbench, write
from vqbench.errors import StoreError, UsageError
from vqbench.system.output import write_text
from vqbench.system.paths import require_writable

FILES = [
    ("measure", "originals", "reconstructions", "-o"),
    ("measure", "originals", "reconstructions", "--report"),
    ("table", "tiny.yaml", "-o"),
    ("report", "tiny.yaml", "-o"),
    ("profile", "vq", "-o"),
    ("sample", "abc", "-o"),
    ("encode", "abc", "originals", "-o"),
    ("init", "originals", "-o"),
]
FOLDERS = [
    ("codecs", "originals", "--bits", "64", "-o"),
    ("export", "abc", "-o"),
    ("merge", "originals", "reconstructions", "-o"),
    ("report", "tiny.yaml", "--index", "-o"),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders of two images, a suite, a file, and no work that could be done."""
    monkeypatch.chdir(tmp_path)
    for folder, number in product(("originals", "reconstructions"), range(2)):
        Path(folder).mkdir(exist_ok=True)
        Path(folder, f"{number}.png").write_bytes(noise(number, 16))
    write(tmp_path, "vq")
    Path("file").write_text("kept")
    monkeypatch.setattr("vqbench.api.measure_sets.measure_images", None)
    monkeypatch.setattr("vqbench.profiling.profile_driver.profile", None)
    monkeypatch.setattr("vqbench.planning.loading.load_spec", None)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence that was printed."""
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    return shown.err


@pytest.mark.parametrize("words", FILES, ids=" ".join)
def test_a_folder_in_place_of_a_file(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """An output that is a folder is refused before any work, and the folder is named."""
    assert vqbench(*words, "originals") == 2
    assert "vqbench: originals: a folder; name a file in it" in said(capsys)


@pytest.mark.parametrize("words", FOLDERS, ids=" ".join)
def test_a_file_in_place_of_a_folder(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """An output folder that is a file is refused before any work, and the file is named."""
    assert vqbench(*words, "file") == 2
    assert "vqbench: file: a file; " in said(capsys)


@pytest.mark.parametrize("words", [*FILES, *FOLDERS, ("decode", "abc", "file", "-o")], ids=" ".join)
def test_a_file_system_that_refuses(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that nothing can be written to, such as a read-only one, is refused before any work."""

    def refuses(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuses)
    assert vqbench(*words, "new/deep/out.npz") == 2
    assert "out.npz: cannot be written (Read-only file system); name another place" in said(capsys)
    assert not Path("new").exists()


def test_the_place_of_a_row_is_tried_first(capsys: pytest.CaptureFixture[str]) -> None:
    """So is the folder that `measure --row` and `codecs --suite` write to at the end."""
    assert vqbench("measure", "originals", "reconstructions", "--suite", "quick", "--row", "X", "--runs", "file") == 2
    assert "--runs file: a file; name a folder" in said(capsys)
    assert vqbench("codecs", "--bits", "64", "--suite", "quick", "--runs", "file") == 2
    assert "--runs file: a file; name a folder" in said(capsys)


@pytest.mark.parametrize("other", ["file", "./file", "link"])
def test_two_outputs_in_one_file(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table and a page that would replace each other are refused."""
    Path("link").symlink_to("file")
    assert vqbench("measure", "originals", "reconstructions", "-o", "file", "--report", other) == 2
    assert "--output and --report are one file" in said(capsys)


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_an_output_that_is_an_input(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither may replace what is measured."""
    for words in (("originals.npy", "reconstructions.npy"), ("originals", "reconstructions", "--codes", "codes.npz")):
        for word in words:
            if "." in word:
                Path(word).write_bytes(b"array")
        assert vqbench("measure", *words, option, words[-1]) == 2
        assert f"{words[-1]}: is read, too, and would be replaced; name another file" in said(capsys)
        assert Path(words[-1]).read_bytes() == b"array"


def test_trying_leaves_nothing(tmp_path: Path) -> None:
    """What is tried is not made, and a file that exists keeps its content and its time."""
    before = os.stat("file").st_mtime_ns
    for path in ("file", "new/file", ".", "/dev/stdout", "/dev/full"):
        require_writable(Path(path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "originals", "reconstructions", "tiny.yaml"]
    assert (os.stat("file").st_mtime_ns, Path("file").read_text()) == (before, "kept")
    with pytest.raises(UsageError, match=r"since .*file is a file"):
        require_writable(Path("file/below"))


def test_a_full_disk_keeps_the_file_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that does not fit leaves the file as it was, and nothing beside it."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(os.listdir())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write_text(Path("file"), "new")
    assert Path("file").read_text() == "kept"
    assert sorted(os.listdir()) == before
    monkeypatch.undo()


def test_a_link_is_written_through(tmp_path: Path) -> None:
    """A link to a file stays a link."""
    Path("link").symlink_to("file")
    write_text(Path("link"), "new")
    assert Path("link").is_symlink()
    assert Path("file").read_text() == "new"
