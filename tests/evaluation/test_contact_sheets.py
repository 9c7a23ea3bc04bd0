"""Samples are drawn, and below them their nearest training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.support.measured_samples import (
    WatchedImages,
    half_copied,
    smooth,
)
from vqbench.evaluation import contact_sheets
from vqbench.images import first_images
from vqbench.store import snapshots


def test_the_nearest_is_shown_as_it_is_nearest(tmp_path: Path) -> None:
    """With flips, the image below a sample is the training image of which it or its mirror image is nearest, turned
    to where that is so; without, none is mirrored."""
    torch.manual_seed(0)
    training = smooth(330, 1)
    made = half_copied(training, 32)[:16]
    made[::2] = made[::2].flip(-1)
    differences = [made.float().flatten(1)[:, None] - view.float().flatten(1) for view in (training, training.flip(-1))]
    apart = torch.stack([each.square().sum(-1) for each in differences])  # (2, 16, 330)
    places = apart.amin(0).argmin(1)
    mirrored = apart[1, range(16), places] < apart[0, range(16), places]
    assert mirrored.tolist() == [True, False] * 8
    for images in (training, WatchedImages(training)):
        assert torch.equal(contact_sheets.nearest(made, images, mirrored=True), places)
        contact_sheets.draw(tmp_path, made, images, mirrored=True)
        shown = torch.where(mirrored[:, None, None, None], training.flip(-1)[places], training[places])
        expected = contact_sheets.grid(torch.cat([made[:8], shown[:8], made[8:], shown[8:]]))
        assert (tmp_path / "neighbours.png").read_bytes() == expected
        kept = snapshots.read_samples(tmp_path)
        assert kept is not None
        assert np.array_equal(kept.samples, made.numpy())
        assert np.array_equal(kept.neighbours, shown.numpy())
        assert np.array_equal(kept.nearest, places.numpy())
        contact_sheets.draw(tmp_path, made, images)
        below = training[contact_sheets.nearest(made, training)]
        expected = contact_sheets.grid(torch.cat([made[:8], below[:8], made[8:], below[8:]]))
        assert (tmp_path / "neighbours.png").read_bytes() == expected


def test_the_nearest_is_found_by_pieces() -> None:
    """The training image below a sample is that of all at once, and never is more than a piece read."""
    torch.manual_seed(0)
    training = smooth(330, 1)
    made, watched = half_copied(training, 16), WatchedImages(training)
    expected = (made.float().flatten(1)[:, None] - training.float().flatten(1)[None]).square().sum(-1).argmin(1)
    assert torch.equal(contact_sheets.nearest(made, training), expected)
    assert torch.equal(contact_sheets.nearest(made, watched), expected)
    assert max(watched.asked) == contact_sheets.TOGETHER


def test_images_in_memory_and_in_pieces_are_drawn_alike(tmp_path: Path) -> None:
    """Of training images that are read in pieces, no later one than the first ones is read, and the same are drawn."""
    torch.manual_seed(0)
    training = smooth(330, 1)
    made, watched = half_copied(training, 60), WatchedImages(training)
    contact_sheets.draw(tmp_path / "pieces", made, first_images(watched, 210))
    contact_sheets.draw(tmp_path / "memory", made, training[:210])
    for name in ("samples.png", "neighbours.png"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes()
    assert watched.last == 209
