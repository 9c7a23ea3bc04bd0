"""Copies of training images are found, mirrored ones included, in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.measured_samples import (
    WatchedImages,
    copies_by_hand,
    half_copied,
    metric,
    smooth,
    symmetric,
)
from vqbench.datasets.photos import Photos
from vqbench.images import first_images, resident
from vqbench.metric import TOGETHER, Samples
from vqbench.metrics.copies import Copies

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("side", [20, 40])
def test_copies_by_pieces(side: int) -> None:
    """Copies are what whole matrices give, of images in memory and of those read by pieces."""
    torch.manual_seed(0)
    training = smooth(330, 1, side)
    made = half_copied(training, 120)
    for mirrored in (False, True):
        expected = copies_by_hand(made, training, mirrored)
        assert 50 <= expected < 100
        watched = WatchedImages(training)
        for images in (training, watched):
            assert metric(Copies).measure(Samples(made, images, Tensor, Tensor, mirrored)) == expected
        assert max(watched.asked) == TOGETHER
        assert sum(watched.asked) <= 2 * 330 + 120  # all images twice, and those that are a sample's nearest


@pytest.mark.parametrize("side", [20, 40])
def test_mirrored_copies_are_found_with_flips(side: int) -> None:
    """A generator that repeats training images mirrored makes copies if it learned from mirror images, else not as
    many; with flips, copies that are not mirrored count as before."""
    torch.manual_seed(0)
    training = smooth(330, 1, side)
    copied = half_copied(training, 120)[:60]

    def share(made: Tensor, mirrored: bool) -> float:
        found = metric(Copies).measure(Samples(made, training, Tensor, Tensor, mirrored))
        assert found == copies_by_hand(made, training, mirrored)
        return found

    assert share(copied.flip(-1), True) == share(copied, True) == share(copied, False) == 100
    assert share(copied.flip(-1), False) < 60


def test_flips_change_nothing_among_symmetric_images() -> None:
    """A symmetric training image is its own mirror image, which is no other image: copies of it are copies."""
    torch.manual_seed(0)
    training = symmetric(smooth(330, 1, 20))
    made = half_copied(training, 120)
    found = [metric(Copies).measure(Samples(made, training, Tensor, Tensor, mirrored)) for mirrored in (False, True)]
    assert found == [copies_by_hand(made, training, mirrored) for mirrored in (False, True)]
    assert found[0] == found[1] > 50
    assert metric(Copies).measure(Samples(training[:60], training, Tensor, Tensor, True)) == 100


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_is_there_twice_is_not_copied(mirrored: bool) -> None:
    """A copy of a training image counts for none where the same image is in the split a second time or, with flips,
    its mirror image is."""
    training = smooth(120, 1, 20)
    twice = torch.cat([training, training[:30], training[30:60].flip(-1)])
    samples = [Samples(training[part], twice, Tensor, Tensor, mirrored) for part in (slice(30), slice(30, 60))]
    assert metric(Copies).measure(samples[0]) == 0
    assert metric(Copies).measure(samples[1]) == (0 if mirrored else 100)
    assert metric(Copies).measure(Samples(training[60:], twice, Tensor, Tensor, mirrored)) == 100


def test_copies_of_the_first_images_alone() -> None:
    """For a generator that was trained on the first images alone, no later one is read or counted."""
    torch.manual_seed(0)
    training = smooth(330, 1)
    made = half_copied(training, 60)
    watched = WatchedImages(training)
    first = first_images(watched, 210)
    assert metric(Copies).measure(Samples(made, first, Tensor, Tensor)) == copies_by_hand(made, training[:210])
    assert watched.last == 209


def test_copies_of_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a folder of photographs, read in pieces, are those of its images in memory."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    for name, images in (("train", smooth(130, 1, 48)), ("test", smooth(5, 2, 48))):
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{number:03}.png")
    training = Photos(folder=str(tmp_path), size=40).pixels("train")
    torch.manual_seed(0)
    in_memory = resident(training)
    made = half_copied(in_memory, 40)
    expected = copies_by_hand(made, in_memory)
    assert metric(Copies).measure(Samples(made, training, Tensor, Tensor)) == expected
