"""Find originals among the test images of data sets, by digests of their pixels."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqbench.dataset import Dataset
from vqbench.errors import UsageError
from vqbench.images import read_ahead, workers
from vqbench.measuring.image_digests import image_digest, set_digest
from vqbench.measuring.inputs.image_input import DamagedImage, ImageInput, InputImage
from vqbench.measuring.inputs.value_range import ValueRange
from vqbench.measuring.models.model_inputs import ModelInputs
from vqbench.measuring.pair_inputs import PairInputs
from vqbench.measuring.pair_stream import PART, THREADS

SPLIT_PART = 200  # test images that are read at a time


@dataclass(frozen=True)
class KnownImages:
    """The data set that the originals of some pairs are the test images of."""

    dataset: str  # as it was named
    every: bool  # whether they are all test images; else they are the first
    places: np.ndarray  # (N,) of each pair among the test images

    def digest(self, digests: np.ndarray) -> str:
        """Digest ``digests``, (N, bytes) of each pair, in the order of the test images."""
        return hashlib.sha256(digests[np.argsort(self.places)].tobytes()).hexdigest()


def known_images(
    inputs: PairInputs | ModelInputs, datasets: Mapping[str, Dataset], progress: Callable[[int, int], None]
) -> KnownImages:
    """Return the one of ``datasets`` whose test images the originals are.

    All originals are decoded once. ``progress`` is called with (images read, images in all).

    Raises:
        UsageError: the originals are the test images of none, or not all and not the first of one.
        DamagedImage: an image that cannot be decoded.
        AssetError: the images of a data set are not on this machine.
    """
    digests = list(_digests(inputs.originals, inputs.matched.originals, inputs.original_range, progress))
    found = {}
    for name, dataset in datasets.items():
        total, places = _places(digests, dataset)
        if all(place is not None for place in places):
            order = np.array(places)
            if sorted(order.tolist()) != list(range(len(order))):
                raise UsageError(
                    f"{inputs.originals.path}: {len(order):,} of the {total:,} test images of {dataset.title}, but "
                    "neither all nor the first; rows are compared on the same images, so give all"
                )
            return KnownImages(name, len(order) == total, order)
        found[name] = places
    raise UsageError(_unknown(inputs, datasets, found))


def reconstructions_digest(inputs: PairInputs, progress: Callable[[int, int], None]) -> str:
    """Return the digest of all reconstructions, as their measurement would.

    They are decoded once. Raises DamagedImage for an image that cannot be.
    """
    places = inputs.matched.reconstructions
    return set_digest(_digests(inputs.reconstructions, places, inputs.reconstruction_range, progress))


def _digests(
    images: ImageInput, places: Sequence[int], scale: ValueRange | None, progress: Callable[[int, int], None]
) -> Iterator[bytes]:
    """Yield the digest of the image at each of ``places``."""
    total = len(places)

    def part(start: int) -> list[InputImage | DamagedImage]:
        return images.read(places[start : start + PART])

    for decoded in read_ahead(range(0, total, PART), part, min(workers(), THREADS)):
        for image in decoded:
            if isinstance(image, DamagedImage):
                raise image
            yield image_digest(image, scale)
        progress(0, total)


def _places(digests: list[bytes], dataset: Dataset) -> tuple[int, list[int | None]]:
    """Return the number of test images, and the place of each original among them.

    Equal test images are taken in their order.
    """
    pixels: Any = dataset.pixels("test")  # (N, C, S, S) uint8
    wanted = set(digests)
    known: dict[bytes, deque[int]] = defaultdict(deque)
    for start in range(0, len(pixels), SPLIT_PART):
        for place, levels in enumerate(pixels[start : start + SPLIT_PART].numpy(), start):
            if (digest := image_digest(InputImage(levels, levels.shape[0] == 1), None)) in wanted:
                known[digest].append(place)
    places = [known[digest].popleft() if known.get(digest) else None for digest in digests]
    return len(pixels), places


def _unknown(
    inputs: PairInputs | ModelInputs, datasets: Mapping[str, Dataset], found: Mapping[str, list[int | None]]
) -> str:
    """Say that the originals are no test images of any data set, or which are not."""
    count = len(inputs.matched)
    known = {name: count - places.count(None) for name, places in found.items()}
    best = max(known, key=lambda name: known[name])
    if not known[best]:
        titles = " or ".join(dict.fromkeys(dataset.title for dataset in datasets.values()))
        return (
            f"{inputs.originals.path}: none of its {count:,} images is a test image of {titles}; give the data set's "
            "own pixels as originals, all or the first of them"
        )
    first = inputs.matched.names[found[best].index(None)]
    return (
        f"{inputs.originals.path}: {count - known[best]:,} of its {count:,} images are no test images of "
        f"{datasets[best].title}, or are given twice (first {first}); give all test images and no others"
    )
