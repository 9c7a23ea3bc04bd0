"""Files, tar archives and links are accepted or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.support.image_folders import (
    SIZE,
    noise,
    photos,
    pixels,
    ppm_noise,
    refused,
    tar,
)
from vqbench import registry
from vqbench.assets import image_scan
from vqbench.datasets import _index
from vqbench.datasets.photos import Photos
from vqbench.errors import AssetError

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


def test_what_is_no_regular_file_is_damaged(ppm_folder: Path) -> None:
    """Pipes, devices, links to nowhere and sparse files under images' names are named, and the rest is used."""
    wanted = photos(ppm_folder).content
    os.mkfifo(ppm_folder / "train" / "pipe.png")
    (ppm_folder / "train" / "device.png").symlink_to("/dev/zero")
    (ppm_folder / "train" / "link.png").symlink_to("nowhere")
    (ppm_folder / "train" / "round.png").symlink_to("round.png")
    with (ppm_folder / "train" / "sparse.png").open("wb") as file:
        file.truncate(2**42)
    said = refused(ppm_folder)
    for part in ("a named pipe", "a device", "No such file", "symbolic links", "more than the 268.4 MB"):
        assert part in said
    assert photos(ppm_folder, damaged="skip").content == wanted


def test_names_that_are_no_text_are_kept(ppm_folder: Path) -> None:
    """A damaged image, a sound one and a folder whose names are not UTF-8 are distinguished, and found again."""
    root = Path(os.fsdecode(os.fsencode(ppm_folder) + b"\xe9"))
    ppm_folder.rename(root)
    Path(os.fsdecode(os.fsencode(root) + b"/train/kaputt\xe9.ppm")).write_bytes(b"no image")
    Path(os.fsdecode(os.fsencode(root) + b"/train/ganz\xe9.ppm")).write_bytes(ppm_noise(77))
    assert "kaputt\udce9.ppm (not an image" in refused(root)
    for _ in range(2):  # checked, then kept
        dataset = photos(root, damaged="skip")
        assert dataset.counts["train"] == 13
        assert dataset.pixels("train")[:].shape[0] == 13
    named = registry.resolve("datasets", "photos", {"folder": str(root), "size": SIZE, "damaged": "skip"}).args
    assert Photos(**named).content == dataset.content  # type: ignore[arg-type]


def test_an_image_in_an_archive_in_a_folder_called_like_one(tmp_path: Path, ppm_folder: Path) -> None:
    """A ppm_folder whose name ends like an archive's is a ppm_folder."""
    import tarfile

    for split in ("train", "test"):
        (tmp_path / "odd.tar" / split).mkdir(parents=True)
        with tarfile.open(tmp_path / "odd.tar" / split / "a.tar", "w") as tar:
            for path in sorted((ppm_folder / split).iterdir()):
                tar.add(path, path.name)
    dataset = photos(tmp_path / "odd.tar")
    assert dataset.content == photos(ppm_folder).content
    index = _index.index(tmp_path)
    assert not index.damaged
    assert len(index) == 34


def test_a_tar_of_a_negative_size_ends(tmp_path: Path) -> None:
    """A member whose size leads back to itself is one sentence, not a reading for ever."""
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("x.png"))
        tar.addfile(tarfile.TarInfo("y.png"))
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[124:136] = b"\xff" * 10 + (-512).to_bytes(2, "big", signed=True)
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(AssetError, match="not a whole tar archive"):
        image_scan.scan(tmp_path)


def test_tar_shards_are_the_same_data_set(folder: Path, tmp_path: Path) -> None:
    """Shards as webdataset has them, beside labels, are read like the folder and are named like it."""
    for split, first, count in (("train", 0, 12), ("val", 100, 5)):
        for shard in range(2):
            numbers = range(shard * 6, min(count, shard * 6 + 6))
            members = {f"{number:06}.png": noise(first + number) for number in numbers}
            labels = {f"{number:06}.cls": b"3" for number in numbers}
            tar(tmp_path / "shards" / f"set-{split}-{shard:03}.tar", members | labels)
    shards = photos(tmp_path / "shards")
    assert shards.content == photos(folder).content
    assert torch.equal(pixels(shards, "train"), pixels(photos(folder), "train"))
    (tmp_path / "shards" / "set-train-000.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(AssetError, match=r"set-train-000\.tar: not a whole tar archive"):
        photos(tmp_path / "shards")
