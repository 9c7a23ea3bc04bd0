"""What used to pass in silence: each is said, in one sentence, before it costs anything."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.image_folders import noise
from tests.support.tiny_suite import vqbench, write


def test_clean_of_no_store_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store that does not exist has nothing to delete, which is a mistake, whether it was named or not."""
    monkeypatch.chdir(tmp_path)
    for words in ((), ("--store", "rums")):
        assert vqbench("clean", "quick", *words) == 2
        assert "this folder does not exist" in capsys.readouterr().err


def test_methods_of_no_profile_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """profile --methods prints a saved profile's methods; without --show it measures nothing."""
    assert vqbench("profile", "vq", "--methods") == 2
    assert "--methods needs --show FILE" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["prepare", "run"])
def test_all_missing_assets_are_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Offline and with an empty cache, one sentence names every asset that the suite lacks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path / "nowhere"))
    assert vqbench(command, "small_datasets", "--offline", "--store", tmp_path / "runs") == 1
    shown = capsys.readouterr().err
    for name in ("mnist", "cifar10", "vgg16_lpips", "inception_fid"):
        assert name in shown
    assert "nowhere" in shown
    if command == "prepare":
        assert "which is no folder, so nothing is taken from it" in shown


def test_more_images_than_there_are_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--subset and --test-images beyond the data set's size say that all of it is used."""
    words = ("plan", "quick", "--store", tmp_path, "--subset", "5000", "--test-images", "2000")
    assert vqbench(*words) == 0
    shown = capsys.readouterr().err
    assert "--subset 5000: Fashion-MNIST 5k has 4,000 training images, all of which are used" in shown
    assert "--test-images 2000: Fashion-MNIST 5k has 1,000, all of which are used" in shown
    assert vqbench(*words[:4], "--subset", "4000", "--test-images", "1000") == 0
    assert capsys.readouterr().err == ""


def test_plan_names_files_that_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged image and a file of another kind are named where the runs are planned, before anything is trained."""
    (tmp_path / "images").mkdir()
    for number in range(200):
        (tmp_path / "images" / f"{number}.png").write_bytes(noise(number, 16))
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    (tmp_path / "images" / "photo.heic").write_bytes(b"no image")
    suite = write(tmp_path, "vq")
    folder = f"[{{photos: {{folder: {tmp_path / 'images'}, size: 16, damaged: skip}}}}]"
    suite.write_text(suite.read_text().replace("[fashion_mnist_5k]", folder))
    assert vqbench("plan", suite, "--store", tmp_path / "runs") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "broken.png" in shown
    assert ".heic" in shown


def test_doctor_searches_the_user_s_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of all assets takes one walk through VQBENCH_DATA, however many assets there are."""
    from vqbench import assets

    (tmp_path / "data" / "deep").mkdir(parents=True)
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    scanned: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (scanned.append(str(path)), scandir(path))[1])
    assert set(assets.states(assets.CATALOGUE).values()) == {"missing"}
    assert scanned == [str(tmp_path / "data"), str(tmp_path / "data" / "deep")]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_date_outside_a_checkout_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """diff with a date where no git history is says so and what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert vqbench("diff", "2026-01-01", "2026-01-31") == 2
    shown = capsys.readouterr().err
    assert "commits and dates need a git checkout, which this is not; name two folders" in shown
    assert shown.count("\n") == 1


def test_latex_is_never_printed_with_substitutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where standard output cannot encode a letter, LaTeX goes to a file or nowhere: a code would be a command."""
    suite = write(tmp_path, "{vq: {}, label: Größe}")
    words = ("table", suite, "--store", tmp_path, "--format", "latex")
    for encoding, code in (("utf-8", 0), ("ascii", 2)):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        assert vqbench(*words) == code
        stream.flush()
        assert bool(stream.buffer.getvalue()) == (code == 0)  # type: ignore[attr-defined]  # the buffer is a BytesIO
    assert vqbench(*words, "-o", tmp_path / "table.tex") == 0
    assert "Größe" in (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_errors_about_values_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a value is, is said of its key, without a colon between the two."""
    assert vqbench("plan", "quick", "--seeds", "1,a", "--store", tmp_path) == 2
    assert "--seeds 1,a: seeds.1 is 'a'; it should be" in capsys.readouterr().err
