"""`vqbench explain --model`: what is said of a model's reconstructions, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.measuring.conftest import pairs, write_pairs
from tests.support.tiny_suite import vqbench
from vqbench.api.explaining import ExplainOptions, explain_images, explained_model, explained_pairs
from vqbench.api.measure_models import ModelOptions
from vqbench.measuring.models import explained_model as explained

__all__ = ["pairs"]  # a fixture
CODE = "def blurred(x):\n    import torch\n    return torch.nn.functional.avg_pool2d(x, 3, 1, 1)\n"


def blurred(x: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


@pytest.mark.parametrize("kept", [2**30, 0])
def test_it_is_explained_as_the_images_that_it_makes(kept: int, tmp_path: Path, monkeypatch: Any) -> None:
    """Values are those of two arrays; the model computes once if its images fit in memory, else in every pass."""
    monkeypatch.setattr(explained, "KEPT", kept)
    originals, _ = write_pairs(tmp_path, count=6)
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return blurred(x)

    options = ExplainOptions("official", "llamagen", ["psnr", "ssim"])
    images = explained_model(originals, ModelOptions(model))
    found = explain_images(images, options)
    first = next(iter(images.batches("given")))
    np.save(tmp_path / "given.npy", first[0].numpy())
    np.save(tmp_path / "made.npy", first[1].numpy())
    expected = explain_images(explained_pairs(tmp_path / "given.npy", tmp_path / "made.npy"), options)
    assert list(found.values.values()) == [pytest.approx(each) for each in expected.values.values()]
    assert calls[:2] == [1, 6]
    assert (len(calls) == 2) == bool(kept)


def test_the_command(pairs: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    """--model with a folder prints the table and the waterfall; --target says that nothing prints a number."""
    file = tmp_path / "own_blur.py"
    file.write_text(CODE)
    words = (pairs[0], "--model", f"{file}:blurred", "--device", "cpu", "-q", "--metrics", "psnr")
    assert vqbench("explain", *words, "--images", "8") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("8 pairs of images, 64x64")
    assert "pixels truncate → float" in shown
    assert "originals does not apply" in shown
    assert vqbench("explain", *words, "--target", "psnr=1.0") == 0
    assert "Nothing explains 1.0" in capsys.readouterr().out


def test_other_images_are_prepared_alike(tmp_path: Path) -> None:
    """--originals-as prepares what the model is given, and the other reference too."""
    from vqbench.measuring.pair_inputs import ReadingOptions

    originals, others = write_pairs(tmp_path, count=4)
    reading = ReadingOptions(originals_as="resize:32:bicubic")
    images = explained_model(originals, ModelOptions(blurred), others, reading=reading)
    assert {tuple(part.shape[1:]) for pair in images.batches("given") for part in pair} == {(3, 32, 32)}
    assert [tuple(part.shape) for part in images.references("given")] == [(4, 3, 32, 32)]
    assert images.facts.references == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("a", "b", "--model", "x.py:f"), "with --model, give ORIGINALS alone"),
        (("--batch-size", "3", "abc"), "--batch-size: with --model alone"),
        ((), "or --model with ORIGINALS"),
    ],
)
def test_words_that_do_not_fit(words: tuple[str, ...], sentence: str, capsys: Any) -> None:
    """Each mistake is one sentence and exit code 2."""
    assert vqbench("explain", *words) == 2
    assert sentence in capsys.readouterr().err
