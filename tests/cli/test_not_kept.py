"""What was measured is printed, even where nothing can be kept any more."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

import vqbench as v
from tests.support.image_folders import noise
from tests.support.tiny_suite import vqbench
from vqbench.api.evaluation import NotKept
from vqbench.measuring.kept_measurement import KeptMeasurement


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders of six images, and a disk that is full when results are written."""
    monkeypatch.chdir(tmp_path)
    for folder, start in (("originals", 0), ("reconstructions", 9)):
        Path(folder).mkdir()
        for number in range(6):
            Path(folder, f"{number}.png").write_bytes(noise(start + number, 16))
    finish = KeptMeasurement.finish

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def on_a_full_disk(self: KeptMeasurement, *words: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            finish(self, *words)

    monkeypatch.setattr(KeptMeasurement, "finish", on_a_full_disk)


def test_values_are_printed_and_the_exit_code_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    """A disk that is full at the end costs the kept values alone: the table is printed, then the reason."""
    assert vqbench("measure", "originals", "reconstructions", "-q") == 1
    shown = capsys.readouterr()
    assert "PSNR (dB)" in shown.out
    assert "No space left on device" in shown.err
    assert "measured, but not stored: the values" in shown.err
    assert len(shown.err.splitlines()) == 1


def test_json_has_no_path_of_a_file_that_was_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has the values, and null in place of the file with values per image."""
    assert vqbench("measure", "originals", "reconstructions", "--json", "-q") == 1
    data = json.loads(capsys.readouterr().out)
    assert data["per_image"] is None
    assert [value["metric"] for value in data["values"]] == ["l1", "psnr", "ssim"]


def test_the_error_of_python_has_the_values() -> None:
    """In Python, the error has the evaluation."""
    with pytest.raises(NotKept, match="not stored") as caught:
        v.evaluate("originals", "reconstructions", store="kept")
    assert caught.value.evaluation["psnr"] > 0
    assert len(caught.value.evaluation.per_image) == 6


def test_a_store_that_is_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A file in place of the store is refused before anything is read."""
    Path("file").write_text("kept")
    for words in (("measure", "originals", "reconstructions"), ("codecs", "originals", "--bits", "4000")):
        assert vqbench(*words, "--store", "file") == 2
        assert "--store file: a file; name a folder" in capsys.readouterr().err


def test_fewer_images_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """explain --images beyond the pairs says that all are used."""
    assert vqbench("explain", "originals", "reconstructions", "--images", "100", "--steps") == 0
    assert "--images 100: 6 pairs exist, all of which are used" in capsys.readouterr().err
    assert vqbench("explain", "originals", "reconstructions", "--images", "6", "--steps") == 0
    assert "all of which" not in capsys.readouterr().err


def test_interrupted_after_the_last_image() -> None:
    """What was interrupted when all images were read resumes there, at no image that does not exist."""
    from vqbench.api.measure import measure_files
    from vqbench.errors import Interrupted

    def stops(done: int, total: int) -> None:
        if done == total:
            raise Interrupted("stopped")

    given = Path("originals"), Path("reconstructions")
    with pytest.raises(Interrupted):
        measure_files(*given, store=Path("kept"), progress=stops)
    said: list[str] = []
    with pytest.raises(NotKept) as caught:
        measure_files(*given, store=Path("kept"), say=said.append)
    assert said == ["resumed after the last of 6 images"]
    assert caught.value.evaluation["psnr"] == measure_files(*given)["psnr"]
