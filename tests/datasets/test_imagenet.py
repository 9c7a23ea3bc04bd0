"""ImageNet is the same in every layout."""

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
from vqbench.datasets.imagenet import Imagenet
from vqbench.errors import AssetError

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


def test_imagenet_is_the_same_by_synset_or_flat(tmp_path: Path) -> None:
    """val/ in synset folders and flat are one data set, in the order of the files' own names."""
    for number in range(6):
        train = f"train/n0{number % 2}/n0{number % 2}_{number}.JPEG"
        val = f"ILSVRC2012_val_{number:08}.JPEG"
        layouts = {"synsets": [train, f"val/n0{number % 2}/{val}"], "flat": [train, f"val/{val}"]}
        layouts["inner"] = [f"ILSVRC/Data/CLS-LOC/{name}" for name in layouts["flat"]]
        for layout, names in layouts.items():
            for place, name in enumerate(names):
                (tmp_path / layout / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / layout / name).write_bytes(noise(number + 100 * place))
    made = [Imagenet(folder=str(tmp_path / layout), size=24) for layout in ("synsets", "flat", "inner")]
    assert len({each.content for each in made}) == 1
    wanted = np.asarray(Image.open(io.BytesIO(noise(101)))).transpose(2, 0, 1)
    assert np.array_equal(pixels(made[0], "test")[1].numpy(), wanted)
    with pytest.raises(AssetError, match="it has no train/"):
        Imagenet(folder=str(tmp_path / "flat" / "val"))
