"""`vqbench explain ORIGINALS RECONSTRUCTIONS`: what is printed for two folders, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.explaining.test_planted_settings import pair
from tests.support.tiny_suite import vqbench

__all__ = ["pair"]  # fixture


def test_from_any_protocol_to_any_other(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Tables and waterfall lead from one named protocol to another, setting by setting."""
    assert vqbench("explain", *pair, "--from", "llamagen", "--to", "torchmetrics", "--metrics", "psnr", "-q") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("12 pairs of images, 96x96")
    assert "psnr_mean image → set" in shown
    assert "█" in shown
    assert "\ntorchmetrics " in shown


def test_a_group_of_metrics(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """`--metrics fast` is what is explained without the option."""
    assert vqbench("explain", *pair, "--steps", "-q") == 0
    shown = capsys.readouterr().out
    assert vqbench("explain", *pair, "--steps", "-q", "--metrics", "fast") == 0
    assert capsys.readouterr().out == shown


def test_the_verdict_comes_first(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A number that nothing explains, one out of range, and one that the base prints have sentences of their own."""
    for target, sentence in (
        ("l1=0.5", "Nothing explains 0.5"),
        ("ssim=1.5", "Its values are from -1 to 1, so no setting prints 1.5."),
        ("l1=0.0", "prints 0.0 already"),
    ):
        assert vqbench("explain", *pair, "--target", target, "--from", "clean", "-q") == 0
        assert sentence in "\n".join(capsys.readouterr().out.splitlines()[:2])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--from", "nosuch"), "unknown protocol 'nosuch'"),
        (("--target", "psnr"), "METRIC=NUMBER"),
        (("--target", "usage=3"), "not one of originals and reconstructions alone"),
        (("--metrics", "fid"), "not one of originals and reconstructions alone"),
        (("--metrics", "fast", "--metrics", "all"), "fast and all are groups of metrics, of which one is taken"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(
    words: tuple[str, ...], sentence: str, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown protocol, metric or target is one sentence and exit code 2."""
    assert vqbench("explain", *pair, *words, "-q") == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.count("\n") == 1


def test_options_of_images_are_refused_for_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--target for something that is no two folders says so."""
    assert vqbench("explain", "abc", "--target", "psnr=3", "--store", tmp_path) == 2
    assert "of images that exist" in capsys.readouterr().err
