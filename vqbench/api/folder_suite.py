"""Write a first suite for a folder of images, with a comment on every choice."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench import registry
from vqbench.errors import AssetError, UsageError, counted
from vqbench.planning.schema import Problem, word
from vqbench.planning.yamlfile import inline

SIDES = (16, 32, 64)  # pixels of a side that are chosen among; larger ones take hours on a CPU
MOST_SHAPES = 400  # images whose size is read
LEAST_TRAINING, LEAST_TEST = 12, 2
UPDATES = 600  # per run, about: enough that the codebooks of the methods differ
MOST_TRAINING = 10_000  # images of a first suite
FEW = 100  # test images, below which a table ranks no row
METHODS = {
    "identity": "no quantization: an upper bound, not a method",
    "vq": "the VQ-VAE of 2017: the nearest code",
    "vq_ema": "its codebook as running means of the features",
    "cvq": "unused codes are moved to features of the batch",
}
# Seconds on two cores of a server, as measured for the backbone below: per update, per 32x32 image in it, and per run
# for its process and for evaluating some hundred images.
UPDATE_SECONDS, IMAGE_SECONDS, RUN_SECONDS = 0.01, 0.0005, 8.0
COLUMNS = 88  # of a comment


@dataclass(frozen=True)
class FolderSuite:
    """A suite for a folder of images: its text, and the facts it was chosen by."""

    text: str
    train: int  # images
    test: int
    shorter_sides: tuple[int, int]  # pixels, the smallest and the largest
    size: int
    minutes: float
    notes: Sequence[str]  # on files that are left out


def folder_suite(folder: str, name: str) -> FolderSuite:
    """Choose image size, methods, length and metrics for the images below ``folder``.

    Args:
        folder: Where the images are; with train/ and test/ in it, or without splits.
        name: The suite's name: letters, digits, _ and -, a letter first.

    Raises:
        UsageError: No such folder, no images, or too few of them; or a wrong name.
    """
    try:
        word(name)
    except Problem as problem:
        raise UsageError(f"a suite cannot be named {name!r}: {problem}") from None
    dataset = _opened(folder)
    train, test = dataset.counts["train"], dataset.counts["test"]
    if train < LEAST_TRAINING or test < LEAST_TEST:
        raise UsageError(
            f"{folder}: {counted(train, 'training image')} and {counted(test, 'test image')} are too few; a suite "
            f"needs at least {LEAST_TRAINING} and {LEAST_TEST}: add images, or divide them into train/ and "
            "test/ yourself"
        )
    shapes = dataset.shapes(MOST_SHAPES)
    shorter = sorted(min(shape) for shape in shapes)
    size = max([side for side in SIDES if side <= shorter[len(shorter) // 20]], default=SIDES[0])
    used = min(train, MOST_TRAINING)
    images = used - min(dataset.holdout, used // 10)
    batch = 2 ** min(6, max(2, int(math.log2(images / 4))))
    epochs = max(1, round(UPDATES / math.ceil(images / batch)))
    updates = math.ceil(images / batch) * epochs
    seconds = updates * (UPDATE_SECONDS + IMAGE_SECONDS * batch * (size / 32) ** 2) + RUN_SECONDS
    chosen = _Choices(
        folder=folder,
        name=name,
        split=_split_words(folder, train, test),
        shapes=_shape_words(shapes, size),
        size=size,
        batch=batch,
        epochs=epochs,
        subset=used if used < train else None,
        codes=512 if train >= 1000 else 256,
        holdout=min(dataset.holdout, used // 10),
        updates=updates,
        minutes=max(1.0, len(METHODS) * seconds / 60),
        test=test,
    )
    sides = (shorter[0], shorter[-1])
    return FolderSuite(chosen.text(), train, test, sides, size, chosen.minutes, dataset.notes)


def require_folder(folder: str) -> None:
    """Raise UsageError unless ``folder`` is a folder."""
    if not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder; name one that contains images")


def _opened(folder: str) -> Any:
    """Open the folder as a data set. Raises UsageError for one that cannot be used."""
    require_folder(folder)
    try:
        return registry.create("datasets", "photos", folder=folder, size=max(SIDES), damaged="skip")
    except AssetError as error:
        raise UsageError(str(error)) from error


def _split_words(folder: str, train: int, test: int) -> str:
    own = any((Path(folder) / name).is_dir() for name in ("train", "training"))
    how = (
        "as the folders divide them"
        if own
        else "one in ten, by a digest of the file; put images into train/ and test/ to choose yourself"
    )
    return f"{train:,} images for training, {test:,} for testing: {how}"


def _shape_words(shapes: Sequence[tuple[int, int]], size: int) -> str:
    shorter = [min(shape) for shape in shapes]
    least, most = min(shorter), max(shorter)
    sides = f"{least}" if least == most else f"{least} to {most}"
    if size < max(SIDES) or most < max(SIDES):
        why = f"the largest of {', '.join(map(str, SIDES))} that hardly any image is enlarged for"
        return f"Shorter sides are {sides} pixels. {size} is {why if least >= size else 'the least that is tried'}"
    return (
        f"Shorter sides are {sides} pixels. Images are scaled down to {size}, which a CPU trains in minutes; with a "
        "GPU, try 128 or 256"
    )


@dataclass(frozen=True)
class _Choices:
    """All that the text of a suite depends on."""

    folder: str
    name: str
    split: str
    shapes: str
    size: int
    batch: int
    epochs: int
    subset: int | None
    codes: int
    holdout: int
    updates: int
    minutes: float
    test: int

    def metrics(self) -> list[str]:
        """Return the metrics that make sense for this many images of this size."""
        perceptual = ["lpips"] if self.size >= 32 else []  # its network takes no image below 31 pixels
        return ["psnr", "ssim", *perceptual, *(["rfid"] if self.test >= 2048 else []), "usage", "perplexity"]

    def text(self) -> str:
        """Return the suite as YAML."""
        subset = f", subset: {self.subset}" if self.subset else ""
        columns = ", ".join(self.metrics())
        few = f"{self.test} test images: values are shown, but rows are ranked from {FEW} images on."
        parts = [
            _comment(
                f"A first comparison on the images in {self.folder}: about {counted(round(self.minutes), 'minute')} on "
                f"two CPU cores. `vqbench run {self.name}.yaml` runs it and prints the table; `vqbench report "
                f"{self.name}.yaml` makes a page with reconstructions."
            ),
            f"name: {self.name}",
            f"title: {inline(f'A first comparison on {self.folder}')}",
            "",
            _comment(f"{self.split}. {self.shapes}."),
            _comment(
                "Images are resized by their shorter side and cropped to a square at the centre. `damaged: skip` "
                "leaves out files that cannot be decoded, with a note below the table; `refuse` makes them an error."
            ),
            f"data: {inline(self.folder)}",
            f"datasets: [{{photos: {{size: {self.size}, damaged: skip}}}}]",
            "",
            _comment(
                f"The protocol `clean` selects the best epoch on {self.holdout} training images that are held out for "
                f"it. This is {self.updates:,} updates per run, so few that a longer training may change who is ahead."
            ),
            f"train: {{clean: {{epochs: {self.epochs}, batch_size: {self.batch}, learning_rate: 1e-3{subset}}}}}",
            "measure: [clean]",
            "",
            _comment(f"All rows share encoder and decoder; an image has {self.size // 4} x {self.size // 4} codes."),
            "backbone: {conv: {hidden: 64, residual_hidden: 16}}",
            f"codebook: {{num_codes: {self.codes}, dim: 64}}",
            "",
            _comment("One row each. `vqbench list quantizers` shows more; `vqbench new quantizer NAME` writes yours."),
            "quantizers:",
            *(f"  - {name:<9} # {about}" for name, about in METHODS.items()),
            "",
            _comment(
                "One seed does not show how much seeds differ; with [1, 2, 3] the report compares rows by a test."
            ),
            "seeds: [42]",
            f"metrics: [{columns}]",
            *([_comment(few)] if self.test < FEW else []),
            f"table: {{columns: [{columns}, seconds]}}",
        ]
        return "\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(
        text, COLUMNS, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )
