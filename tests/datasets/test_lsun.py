"""LSUN is the same in folders and in lmdb."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.image_folders import (
    noise,
    pixels,
)
from vqbench.datasets.lsun import Lsun
from vqbench.errors import AssetError

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


def test_lsun_by_folder_or_lmdb(tmp_path: Path) -> None:
    """Folders and the published lmdb environments are one data set; what lacks is told with all names."""
    lmdb = pytest.importorskip("lmdb")
    for split, first, count in (("train", 0, 5), ("val", 100, 3)):
        names = {f"{number:040x}": noise(first + number) for number in range(count)}
        for name, data in names.items():
            path = tmp_path / "folders" / "church" / split / f"{name}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (tmp_path / "published").mkdir(exist_ok=True)
        with (
            lmdb.open(str(tmp_path / "published" / f"church_{split}_lmdb")) as environment,
            environment.begin(write=True) as change,
        ):
            for name, data in names.items():
                change.put(name.encode(), data)
    one, two = (Lsun(category="church", folder=str(tmp_path / name), size=24) for name in ("folders", "published"))
    assert one.content == two.content
    assert one.title == "LSUN church"
    assert torch.equal(pixels(one, "train"), pixels(two, "train"))
    with pytest.raises(AssetError, match="none of cat_train_lmdb, cat_train, cat/train"):
        Lsun(category="cat", folder=str(tmp_path / "folders"))
