"""No option is ignored in silence: each has an effect, or is refused with one sentence before anything is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.image_folders import noise
from tests.support.tiny_suite import vqbench

PAIR = ("originals", "reconstructions")
ARRAYS = ("originals.npy", "reconstructions.npy")
SETS = ("originals", "--reference", "reconstructions")
MODEL = ("originals", "--model", "model.py:same")

IGNORED = {
    "an array's name, of folders": (("measure", *PAIR, "--array", "x"), "--array x: of files that hold arrays by name"),
    "of .npy": (("measure", *ARRAYS, "--array", "x"), "--array x: of files that hold arrays by name"),
    "of a tensor": (("measure", "o.pt", ARRAYS[1], "--array", "x"), "--array x: of files that hold arrays by name"),
    "of sets": (("measure", *SETS, "--array", "x"), "--array x: of files that hold arrays by name"),
    "of originals of a model": (("measure", *MODEL, "--array", "x"), "--array x: of files that hold arrays by name"),
    "of a data set": (
        ("measure", "--model", "model.py:same", "--dataset", "fashion_mnist_5k", "--array", "x"),
        "--array x: of files that hold arrays by name",
    ),
    "explained": (("explain", *PAIR, "--array", "x"), "--array x: of files that hold arrays by name"),
    "a range, of folders": (("measure", *PAIR, "--range", "0..1"), "--range 0..1: of float arrays only"),
    "a range, of sets": (("measure", *SETS, "--range", "0..1"), "--range 0..1: of float arrays only"),
    "order, of sets": (("measure", *SETS, "--by-order"), "--by-order: of pairs"),
    "preparation, of sets": (("measure", *SETS, "--originals-as", "crop:8"), "--originals-as: of pairs"),
    "colours, of sets": (("measure", *SETS, "--as-rgb"), "--as-rgb: of pairs"),
    "a results folder": (("measure", *PAIR, "--runs", "elsewhere"), "--runs elsewhere: where a row is written"),
    "a format beside JSON": (("measure", *PAIR, "--json", "--format", "csv"), "--format csv and --json"),
    "of a table beside JSON": (("table", "quick", "--json", "--format", "csv"), "--format csv and --json"),
    "--alone": (("explain", *PAIR, "--alone"), "--alone: with --target alone"),
    "--to": (("explain", *PAIR, "--target", "psnr=20.0", "--to", "official"), "--to official: --target ends nowhere"),
    "metrics": (
        ("explain", *PAIR, "--target", "psnr=20.0", "--metrics", "l1"),
        "--metrics l1: --target psnr=20.0 is of one metric",
    ),
    "a store": (("explain", *PAIR, "--store", "elsewhere"), "--store elsewhere: where a RUN is read from"),
    "codecs, shown": (("codecs", "originals", "--bits", "64", "--show", "x.json"), "ORIGINALS --bits and --show"),
    "codecs, as JSON": (("codecs", "originals", "--bits", "64", "--json", "--format", "markdown"), "and --json"),
    "codecs, a folder": (("codecs", "originals", "--bits", "64", "--runs", "elsewhere"), "--runs elsewhere: where"),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders, arrays and a model; measuring them is an error."""
    import torch

    monkeypatch.chdir(tmp_path)
    for folder, start in zip(PAIR, (0, 9), strict=True):
        Path(folder).mkdir()
        for number in range(2):
            Path(folder, f"{number}.png").write_bytes(noise(start + number, 16))
    images = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    np.save(ARRAYS[0], images)
    np.save(ARRAYS[1], images**2)
    np.savez("named.npz", first=images, second=images**3)
    torch.save(torch.from_numpy(images), "o.pt")
    Path("model.py").write_text("def same(images):\n    return images\n")


@pytest.mark.parametrize("case", IGNORED)
def test_it_is_refused(case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that would change nothing beside the others is one sentence and exit code 2."""
    for name in ("pair_measurement.measure_pairs", "set_measurement.measure_set"):
        monkeypatch.setattr(f"vqbench.measuring.{name}", None)
    words, sentence = IGNORED[case]
    assert vqbench(*words, *(() if words[0] == "codecs" or "--json" in words else ("-q",))) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert sentence in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not Path("measured").exists()


def test_it_has_an_effect_on_one_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    """An option that one input takes is not refused for the others, also where this is the reference."""
    assert vqbench("measure", ARRAYS[0], "named.npz", "--array", "second", "--range", "0..1", "-q") == 0
    assert "declared" in " ".join(capsys.readouterr().out.split())
    words = ("--reference", "named.npz", "--array", "first", "--range", "0..1", "--metrics", "fid", "--offline", "-q")
    assert vqbench("measure", *PAIR, *words) != 2, capsys.readouterr().err
    assert "--array" not in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--from", "--to"])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("clear", "unknown protocol 'clear'; did you mean 'clean'?"),
        ("clean+jpg=75", "unknown setting 'jpg'; did you mean 'jpeg'?"),
        ("clean+jpeg=76", "jpeg can be"),
        ("clean+jpeg", "NAME=VALUE"),
        ("clean+images=1", "images can be 2 or more"),
        ("clean+images=" + "9" * 5000, "images can be 2 or more"),
        ("", "unknown protocol ''"),
    ],
)
@pytest.mark.parametrize("words", [PAIR, MODEL, ("abc",)], ids=["pair", "model", "run"])
def test_a_wrong_condition_is_said_first(
    words: tuple[str, ...],
    value: str,
    sentence: str,
    option: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What --from and --to cannot mean is said before images are read, a model computes or a run is loaded."""
    for name in ("explaining.explained_pairs", "explaining.explained_model", "finished_runs.find_run"):
        monkeypatch.setattr(f"vqbench.api.{name}", None)
    assert vqbench("explain", *words, option, value, "-q") == 2
    shown = capsys.readouterr().err
    assert f"vqbench: {option}: " in shown
    assert sentence in shown
    assert len(shown.splitlines()) == 1


def test_a_wrong_target_is_said_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a target that is none."""
    monkeypatch.setattr("vqbench.api.explaining.explained_pairs", None)
    for target, sentence in (("psnr", "METRIC=NUMBER"), ("psnr=x", "METRIC=NUMBER"), ("pnsr=3", "did you mean 'psnr'")):
        assert vqbench("explain", *PAIR, "--target", target, "-q") == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("measure", *PAIR),
        ("measure", *PAIR, "--skip-damaged"),
        ("measure", *SETS, "--skip-damaged"),
        ("measure", *MODEL, "--skip-damaged"),
        ("explain", *PAIR, "--skip-damaged"),
    ],
    ids=" ".join,
)
def test_all_damaged_names_the_first_and_why(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """If no image can be decoded, the first is named with its reason."""
    for folder in PAIR:
        for number in range(6):  # as many as metrics of sets need
            Path(folder, f"{number}.png").write_bytes(noise(number, 16)[:40] if folder == PAIR[0] else b"")
    assert vqbench(*words, "-q") == 2
    shown = capsys.readouterr().err
    assert "all 6 images are damaged; the first is " in shown
    assert "0.png (" in shown
    assert len(shown.splitlines()) == 1


def test_damaged_on_one_side_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Originals that are all damaged are named, too, where reconstructions are sound."""
    for number in range(2):
        Path(PAIR[0], f"{number}.png").write_bytes(b"no image")
    assert vqbench("measure", *PAIR, "--skip-damaged", "-q") == 2
    assert f"all 2 images are damaged; the first is {PAIR[0]}/0.png (" in capsys.readouterr().err
