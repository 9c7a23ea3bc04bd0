"""Check the facts that a data set declares, and its arguments."""

from __future__ import annotations

import json

from vqbench import registry
from vqbench.assets import CATALOGUE
from vqbench.conformance.datasets.case import SPLITS, DatasetCase
from vqbench.conformance.declarations import require_arguments, require_documented
from vqbench.conformance.outcome import Check, Fail
from vqbench.dataset import Dataset


def facts(case: DatasetCase) -> None:
    """Title, source, licence, channels, size, counts and holdout are declared."""
    require_documented(case, "title", "source", "licence")
    dataset = case.build()
    if dataset.of_features:
        _require_vectors(dataset)
    elif getattr(dataset, "channels", None) not in (1, 3):
        raise Fail(f"`channels` is {getattr(dataset, 'channels', None)!r}", "make it 1 (grey) or 3 (colour)")
    if type(getattr(dataset, "size", None)) is not int or dataset.size < 1:
        raise Fail(f"`size` is {getattr(dataset, 'size', None)!r}", "make it height and width in pixels")
    counts = getattr(dataset, "counts", None)
    if not isinstance(counts, dict) or set(counts) != set(SPLITS) or min(counts.values()) < 1:
        raise Fail(f"`counts` is {counts!r}", 'say how many images there are: counts = {"train": 4000, "test": 1000}')
    if not 0 <= dataset.holdout < counts["train"]:
        raise Fail(
            f"`holdout` is {dataset.holdout:,} of {counts['train']:,} training images",
            "say how many of the last training images are for selection, a tenth for example: holdout = 400",
        )
    if absent := [name for name in dataset.assets if name not in CATALOGUE]:
        raise Fail(f"`assets` names {', '.join(absent)}", f"name assets of vqbench: {', '.join(CATALOGUE)}")
    if not all(isinstance(note, str) for note in dataset.notes):
        raise Fail(f"`notes` is {dataset.notes!r}", "make it sentences that stand below every table")


def _require_vectors(dataset: Dataset) -> None:
    """Raise Fail unless the features are maps of one position."""
    channels, size = getattr(dataset, "channels", None), getattr(dataset, "size", None)
    if type(channels) is not int or channels < 1 or size != 1:
        raise Fail(
            f"`channels` is {channels!r} and `size` {size!r}", "make them the dimensions of a feature, 1 or more, and 1"
        )


def arguments(case: DatasetCase) -> None:
    """All arguments are named, and annotated with plain types."""
    require_arguments(case, defaults=False)


def key_arguments(case: DatasetCase) -> None:
    """The arguments for the run key make the same data set, and stay the same.

    They are plain values without a path.
    """
    cls = case.cls
    named = cls.canonical_args(registry.checked(f"dataset {case.name!r}", cls, case.args, {}))
    try:
        text = json.dumps(named, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Fail(f"canonical_args() returns {named!r} ({error})", "return plain values") from error
    if case.folder and str(case.folder[1]) in json.loads(text).values():
        raise Fail(
            f"canonical_args() keeps the path {case.folder[1]}",
            "put a digest of the content in its place: else the same images on another machine are another run",
        )
    again = cls.canonical_args(dict(named))
    if again != named:
        raise Fail("canonical_args() of its own result differs", "return what it returns once more")
    for split in SPLITS:
        if cls(**named).digest(split) != case.build().digest(split):
            raise Fail(
                f"canonical_args() makes another {split} split",
                "return arguments with which the class finds the same images in any process",
            )


CHECKS = (
    Check(facts),
    Check(arguments),
    Check(key_arguments),
)
