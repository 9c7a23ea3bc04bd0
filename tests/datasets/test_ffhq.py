"""FFHQ is split by number."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.image_folders import (
    noise,
    pixels,
)
from vqbench.datasets.ffhq import Ffhq
from vqbench.errors import AssetError

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


def test_ffhq_is_split_by_number(tmp_path: Path) -> None:
    """Flat or in buckets, numbers below 60000 train and the others test, in their order; what lacks is told."""
    numbers = [59999, 60000, 7, 69999, 1000]
    for number in numbers:
        for name in (f"flat/{number:05}.png", f"buckets/{number // 1000 * 1000:05}/{number:05}.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(noise(number))
    flat, buckets = (Ffhq(folder=str(tmp_path / name), size=24) for name in ("flat", "buckets"))
    for split, wanted in (("train", [7, 1000, 59999]), ("test", [60000, 69999])):
        originals = [np.asarray(Image.open(io.BytesIO(noise(number)))).transpose(2, 0, 1) for number in wanted]
        assert np.array_equal(pixels(flat, split).numpy(), np.stack(originals))
    assert flat.content == buckets.content
    assert flat.notes[0] == "FFHQ: 3 training images are used, of 60,000."
    (tmp_path / "flat" / "me.png").write_bytes(noise(1))
    with pytest.raises(AssetError, match=r"me\.png is not named by a number"):
        Ffhq(folder=str(tmp_path / "flat"))
