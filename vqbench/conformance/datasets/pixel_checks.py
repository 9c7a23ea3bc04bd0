"""Check the images of both splits: form, order and digests."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from vqbench.conformance import two_ranks
from vqbench.conformance.datasets.case import MOST, SPLITS, DatasetCase, digests, first, in_pieces
from vqbench.conformance.outcome import Check, Fail, Warn
from vqbench.dataset import Images

PROBE = 64  # images that are read in several ways
COMMON = 0.01  # share of test images that may also be training images, as in official splits


def images(case: DatasetCase) -> None:
    """Both splits are (N, channels, size, size) uint8, as many as declared.

    Features are float32. Every call returns the same.
    """
    dataset = case.build()
    dtype, levels = (torch.float32, "numbers") if dataset.of_features else (torch.uint8, "levels from 0 to 255")
    for split in SPLITS:
        pixels = dataset.pixels(split)
        if len(pixels) != dataset.counts[split]:
            raise Fail(f"{split} has {len(pixels):,} images, not {dataset.counts[split]:,}", "correct `counts`")
        read = first(pixels, PROBE)
        wanted = (len(read), dataset.channels, dataset.size, dataset.size)
        if read.shape != wanted or read.dtype != dtype or read.device.type != "cpu":
            raise Fail(
                f"{split} images are {str(read.dtype).removeprefix('torch.')} {tuple(read.shape)} on {read.device}",
                f"return {str(dtype).removeprefix('torch.')} {wanted} on the CPU: {levels}, channels before height and "
                "width",
            )
        if not torch.equal(first(dataset.pixels(split), PROBE), read):
            raise Fail(f"pixels({split!r}) returns other images at the next call", "draw with a seed, in a fixed order")
        if dataset.of_features and not read.isfinite().all():
            raise Fail(f"{split} features contain NaN or infinity", "return finite numbers")
        if len(read) > 1 and not dataset.of_features and int(read.max()) <= 1:
            raise Fail(f"no level of {len(read)} {split} images is above 1", "return levels from 0 to 255")
        if len(read) > 1 and (read == read[:1]).all():
            raise Warn(f"the first {len(read)} {split} images are all the same")


def positions(case: DatasetCase) -> None:
    """Slices and positions select the same images, in any order, repeatedly.

    A position beyond the end raises IndexError.
    """
    pixels = case.build().pixels("train")
    count = min(len(pixels), PROBE)
    whole = first(pixels, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1)).repeat(2)
    for name, which, wanted in (
        ("positions in another order", order, whole[order]),
        ("a slice", slice(count // 4, count // 2), whole[count // 4 : count // 2]),
        ("no position", torch.arange(0), whole[:0]),
    ):
        if not torch.equal(pixels[which], wanted):
            raise Fail(f"{name} gives other images than their positions say", "return images[which] as a tensor does")
    try:
        pixels[torch.tensor([len(pixels)])]
    except (IndexError, RuntimeError):  # RuntimeError: by torch's index_select
        return
    raise Fail(f"position {len(pixels):,} of {len(pixels):,} images is accepted", "raise IndexError")


def threads_read_alike(case: DatasetCase) -> None:
    """Several threads that read at once get the images that one gets."""
    pixels = case.build().pixels("train")
    count = min(len(pixels), PROBE)
    whole = first(pixels, count)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda place: pixels[torch.tensor([place])], range(count)))
    if not torch.equal(torch.cat(parts), whole):
        raise Fail("threads get other images", "share no open file or buffer between calls, or lock it")


def augmentation(case: DatasetCase) -> None:
    """Augmented images follow from the seed and their position, nothing else."""
    pixels: Any = case.build().pixels("train")
    count = min(len(pixels), PROBE)
    together = pixels.augmented(torch.arange(count), 7)
    if together.shape != first(pixels, count).shape or together.dtype != torch.uint8:
        raise Fail(f"augmented images are {together.dtype} {tuple(together.shape)}", "return (B, C, S, S) uint8")
    alone = torch.cat([pixels.augmented(torch.tensor([place]), 7) for place in reversed(range(count))]).flip(0)
    if not torch.equal(together, alone):
        raise Fail(
            "augmented images depend on the batch that they are read in",
            "draw from a generator with the seed and the position of the image",
        )


def digest(case: DatasetCase) -> None:
    """The digest of a split is a sha256, and stays the same.

    The splits have different ones; that of a tensor is of its pixels.
    """
    dataset, again = case.build(), case.build()
    found = {split: dataset.digest(split) for split in SPLITS}
    for split in SPLITS:
        if not re.fullmatch("[0-9a-f]{64}", found[split]):
            raise Fail(f"digest({split!r}) is {found[split]!r:.80}", "return a sha256 in 64 hexadecimal digits")
        if again.digest(split) != found[split]:
            raise Fail(f"digest({split!r}) of another object differs", "digest nothing but the content")
        pixels = dataset.pixels(split)
        if isinstance(pixels, Tensor):
            raw = hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
            if raw != found[split]:
                raise Fail(f"digest({split!r}) is not that of the pixels", "do not override digest for a tensor")
    if found["train"] == found["test"]:
        raise Fail("both splits have the same digest", "digest the images of the split that is asked for")


def splits_are_disjoint(case: DatasetCase) -> None:
    """No test image is a training image, among those that are compared."""
    dataset = case.build()
    training = set(digests(first(dataset.pixels("train"))))
    tested = digests(first(dataset.pixels("test")))
    common = sum(each in training for each in tested)
    seen = f"{common:,} of {len(tested):,} test images are also among the first {len(training):,} training images"
    if common > COMMON * len(tested):
        raise Fail(seen, "split by content, so that equal images are in one split")
    if common:
        raise Warn(seen)


def on_rank(case: DatasetCase, rank: int, world: int) -> dict[str, Any]:
    """Return the digests of the splits, and of their first images."""
    dataset = case.build()
    declared = {f"digest({split!r})": dataset.digest(split) for split in SPLITS}
    return declared | {f"{split} images": _joined(dataset.pixels(split)) for split in SPLITS}


def _joined(pixels: Tensor | Images) -> str:
    return hashlib.sha256("".join(digests(first(pixels, MOST // 10))).encode()).hexdigest()


def processes_agree(case: DatasetCase) -> None:
    """Two other processes get the same digests and the same images."""
    two_ranks.require(case)
    here = on_rank(case, 0, 1)
    for there in two_ranks.both(on_rank, case):
        if differing := [name for name in here if here[name] != there[name]]:
            raise Fail(
                f"another process has other {', '.join(differing)}",
                "depend on no hash(), no order of a set or of a directory, and no generator without a seed",
            )


CHECKS = (
    Check(images),
    Check(positions),
    Check(threads_read_alike, only_if=in_pieces),
    Check(augmentation, only_if=in_pieces),
    Check(digest),
    Check(splits_are_disjoint),
    Check(processes_agree),
)
