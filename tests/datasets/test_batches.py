"""Reading ahead: the same batches whatever the threads, from any point of an epoch on, and varied by seed alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.measured_samples import WatchedImages, smooth
from vqbench.dataset import Images
from vqbench.datasets.photos import Photos
from vqbench.errors import AssetError
from vqbench.images import batches, first_images, resident, workers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """30 training and 4 test images of noise, wider than high, and a cache of their own."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for split, count in (("train", 30), ("val", 4)):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            levels = draw.integers(0, 256, (20, 44, 3), dtype=np.uint8)
            Image.fromarray(levels).save(tmp_path / "photos" / split / f"{number:02}.png")
    return tmp_path / "photos"


def of(folder: Path, **args: object) -> Photos:
    return Photos(folder=str(folder), size=16, **args)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_batches_are_the_order_whatever_the_threads(folder: Path, threads: int) -> None:
    """Batches come in the given order, the last one smaller, and are what plain reading gives."""
    images = of(folder).pixels("train")
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    got = list(batches(images, order, 8, threads=threads))
    assert [len(batch) for batch in got] == [8, 8, 8, 6]
    assert torch.equal(torch.cat(got), images[order])
    assert torch.equal(images[torch.arange(30)], images[0:30])
    assert got[0].dtype == torch.uint8
    assert not got[0].is_cuda


def test_an_epoch_resumes_where_it_stopped(folder: Path) -> None:
    """With ``start``, the rest of an epoch equals that of a whole one, drawn variations included."""
    images = of(folder, crop="random", flip=True).pixels("train")
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    whole = list(batches(images, order, 7, seed=5, threads=2))
    for start in range(6):
        rest = list(batches(images, order, 7, start=start, seed=5, threads=3))
        assert len(rest) == len(whole[start:])
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))


def test_variation_is_drawn_by_seed_and_position(folder: Path) -> None:
    """What is drawn depends on neither batch nor rank, differs between seeds, and spares the test split."""
    data = of(folder, crop="random", flip=True)
    images = data.pixels("train")
    everything = torch.arange(30)
    first = torch.cat(list(batches(images, everything, 30, seed=1)))
    again = torch.cat(list(batches(images, everything, 4, seed=1)))
    ranks = [torch.cat(list(batches(images, everything[rank::2], 4, seed=1))) for rank in range(2)]
    other = torch.cat(list(batches(images, everything, 30, seed=2)))
    assert torch.equal(first, again)
    assert torch.equal(first[0::2], ranks[0])
    assert torch.equal(first[1::2], ranks[1])
    assert sum(torch.equal(a, b) for a, b in zip(first, other, strict=True)) < 10
    places = [place_of(images[number : number + 1][0], folder / "train" / f"{number:02}.png") for number in range(30)]
    assert set(places) == {(10, False)}  # the centre of 35 columns, 16 being cut out
    test = data.pixels("test")
    assert torch.equal(torch.cat(list(batches(test, torch.arange(4), 2, seed=1))), test[0:4])


def place_of(image: Tensor, file: Path) -> tuple[int, bool]:
    """Where the square was cut out of the resized image, and whether it was mirrored."""
    with Image.open(file) as original:
        resized = np.asarray(original.resize((35, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    for left in range(20):
        for mirrored in (False, True):
            cut = resized[:, :, left : left + 16]
            if np.array_equal(cut[:, :, ::-1] if mirrored else cut, image.numpy()):
                return left, mirrored
    raise AssertionError("cut out of nowhere")


def test_random_crops_and_flips_are_of_the_image(folder: Path) -> None:
    """Drawn images are cuts of the resized image at many places, about half of them mirrored."""
    images = of(folder, crop="random", flip=True).pixels("train")
    drawn = [images.augmented(torch.arange(30), seed) for seed in range(4)]
    places = [
        place_of(image, folder / "train" / f"{number:02}.png") for batch in drawn for number, image in enumerate(batch)
    ]
    assert len({left for left, _ in places}) > 12
    assert 40 < sum(mirrored for _, mirrored in places) < 80


def test_resident_images_are_read_alike() -> None:
    """A tensor uses the same interface: in order, without threads, from any start."""
    pixels = torch.arange(20 * 3, dtype=torch.uint8).view(20, 3, 1, 1)
    order = torch.arange(19, -1, -1)
    got = list(batches(pixels, order, 6, start=1, seed=3))
    assert torch.equal(torch.cat(got), pixels[order][6:])
    assert resident(pixels) is pixels


def test_resident_reads_all(folder: Path) -> None:
    """A split read whole is the tensor of its images in order."""
    images = of(folder).pixels("train")
    assert torch.equal(resident(images), images[0:30])


def test_an_image_that_is_gone_stops_the_training(folder: Path) -> None:
    """An error in a thread is raised in the training, with the file's name, and nothing waits forever."""
    images = of(folder).pixels("train")
    (folder / "train" / "17.png").unlink()
    with pytest.raises(AssetError, match=r"17\.png: cannot be read any more"):
        list(batches(images, torch.arange(30), 4, threads=2))


class Watched:
    """Images that record the requested batches; from the second on they wait until ``go`` is set."""

    def __init__(self, images: Images) -> None:
        self.images, self.asked, self.go = images, 0, threading.Event()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        self.asked += 1
        if self.asked > 1:
            assert self.go.wait(60)
        return self.images[which]

    def augmented(self, which: Tensor, seed: int) -> Tensor:
        return self.images.augmented(which, seed)


def test_no_thread_is_left(folder: Path) -> None:
    """A training that stops in the middle of an epoch leaves no thread, and waiting batches are not decoded."""
    images = Watched(of(folder).pixels("train"))
    iterator = batches(images, torch.arange(30), 1, threads=1)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    images.go.set()
    for thread in [each for each in threading.enumerate() if each.name.startswith("vqbench-loader")]:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert images.asked <= 2


def test_decoding_is_ahead_but_not_without_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """During an update, two batches per thread and one more are decoded or wait, never the whole epoch."""
    images, begun = of(folder).pixels("train"), 0
    submit = ThreadPoolExecutor.submit

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal begun
        begun += 1
        return submit(*args, **options)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counted)
    iterator = batches(images, torch.arange(30), 1, threads=2)
    next(iterator)
    assert begun == 5
    next(iterator)
    assert begun == 6
    iterator.close()  # type: ignore[attr-defined]


def test_the_environment_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """``VQBENCH_LOADERS`` is used if it is a number above 0."""
    for given, wanted in (("3", 3), ("0", None), ("many", None)):
        monkeypatch.setenv("VQBENCH_LOADERS", given)
        assert workers() == wanted if wanted else 1 <= workers() <= 16


def test_first_images_are_all_that_is_read() -> None:
    """The first images of a split are a split of their own, of which making it reads none."""
    images = smooth(330, 1, 8)
    watched = WatchedImages(images)
    first = first_images(watched, 210)
    assert watched.asked == []
    assert len(first) == 210
    assert torch.equal(first[torch.tensor([209, 3])], images[[209, 3]])
    assert torch.equal(first[200:], images[200:210])
    assert watched.last == 209
    with pytest.raises(IndexError):
        first[torch.tensor([210])]
    assert len(first_images(watched, 1000)) == 330
    assert first_images(watched, None) is watched
    assert len(first_images(images, 210)) == 210
