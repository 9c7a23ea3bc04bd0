"""The user's own photographs: splits by folder or digest; scikit-image's without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.image_folders import (
    SIZE,
    canonical_args,
    fill,
    noise,
    photos,
    pixels,
    refused,
    tar,
)
from vqbench.datasets.photos import Photos
from vqbench.errors import AssetError

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


def test_a_folder_without_splits_is_split_by_digest(tmp_path: Path) -> None:
    """One in ten is for testing; a copy of a file is in the same split; adding images moves none."""
    fill(tmp_path / "flat", [f"{number % 7}/{number:03}.png" for number in range(200)])
    (tmp_path / "flat" / "copy.png").write_bytes(noise(3))
    dataset = photos(tmp_path / "flat")
    assert dataset.counts["train"] + dataset.counts["test"] == 201
    assert 8 <= dataset.counts["test"] <= 35

    def split(dataset: Photos) -> dict[bytes, str]:
        assert dataset.parts is not None
        return {
            dataset.parts[name].index.digests[place].tobytes(): name  # type: ignore[index]
            for name in ("train", "test")
            for place in dataset.parts[name].positions  # type: ignore[index]
        }

    before = split(dataset)
    assert len(before) == 200
    fill(tmp_path / "flat", [f"+first/{number}.png" for number in range(53)], first=1000)
    assert split(photos(tmp_path / "flat")).items() >= before.items()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train/a.png"], "has train/ but none of test/, val/"),
        (["val/a.png"], "has val/ but no train/"),
        ([], "no image"),
    ],
)
def test_a_folder_that_lacks_something_is_one_sentence(tmp_path: Path, names: list[str], sentence: str) -> None:
    """Half a layout, and an empty folder, are errors that say so."""
    (tmp_path / "half").mkdir()
    fill(tmp_path / "half", names)
    with pytest.raises(AssetError, match=sentence):
        photos(tmp_path / "half")


def test_photographs_of_scikit_image(cache: Path) -> None:
    """Without a folder, crops of shipped photographs are used, with the same digest on every machine."""
    args = canonical_args()
    assert args["content"] == "6b01f7cfbb36e052bb1e8cdd797d2c21"
    dataset = Photos(**args)  # type: ignore[arg-type]
    assert dataset.counts == {"train": 285, "test": 33}
    assert pixels(dataset, "test").shape == (33, 3, SIZE, SIZE)
    assert pixels(dataset, "train").float().std() > 40


def test_the_origin_of_a_run_is_one_of_the_two(cache: Path) -> None:
    """A card has the licence of the images that were used: scikit-image's, or a folder's, and never both."""
    own = Photos.origin({"content": Photos().content})
    assert own[0].startswith("scikit-image's astronaut")
    assert "CC0" in own[1]
    folder = Photos.origin({"content": "0" * 32})
    assert "0" * 32 in folder[0]
    assert "scikit-image" not in "".join(folder)


def test_shards_name_their_split_by_whole_words(tmp_path: Path) -> None:
    """``latest.tar`` and ``festival.tar`` name no split; beside named shards they are refused."""
    tar(tmp_path / "latest.tar", {f"{number}.png": noise(number) for number in range(40)})
    tar(tmp_path / "festival.tar", {"c.png": noise(40)})
    assert sum(photos(tmp_path).counts.values()) == 41  # split by digest
    tar(tmp_path / "train-0.tar", {"d.png": noise(41)})
    tar(tmp_path / "val_0.tar", {"e.png": noise(42)})
    message = refused(tmp_path)
    assert "41 images in neither the train nor the test shards" in message
