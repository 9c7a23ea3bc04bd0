"""The names that values are stored under, and the sampling in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vqbench.protocol import MeasureProtocol, measuring

Reference = Literal["train", "test"]


@dataclass(frozen=True)
class Sampling:
    """Number, settings and reference images of a generator's samples.

    ``count`` samples, drawn with the recipe's ``settings``, are compared with the first ``references`` of a split.
    ``references`` of None are all images of the split; fewer are for splits in no particular order. The reference is
    the training split by default, as in most published FIDs.
    """

    count: int = 50_000
    reference: Reference = "train"
    references: int | None = None
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """All settings in one word; :meth:`parse` is the inverse.

        For example ``n=1000,reference=test,steps=50``.
        """
        against = [f"reference={self.reference}"]
        against += [f"references={self.references}"] if self.references is not None else []
        return ",".join([f"n={self.count}", *against, *self._settings()])

    @property
    def samples_name(self) -> str:
        """The settings that decide the samples, without the reference.

        Files of samples are named by it.
        """
        return ",".join([f"n={self.count}", *self._settings()])

    @classmethod
    def parse(cls, name: str) -> Sampling:
        """The sampling of that :attr:`name`. Raises ValueError for any other text."""
        given = dict(setting.partition("=")[::2] for setting in name.split(","))
        try:
            count, reference, references = int(given.pop("n")), given.pop("reference"), given.pop("references", None)
            if reference not in ("train", "test"):
                raise ValueError(f"no split is called {reference!r}")
            settings = {setting: _number(value) for setting, value in given.items()}
            return cls(count, reference, None if references is None else int(references), settings)  # type: ignore[arg-type]  # mypy does not narrow a str to a Literal by ``in``
        except (KeyError, ValueError):
            raise ValueError(f"{name!r} does not name a sampling") from None

    def _settings(self) -> list[str]:
        return [f"{name}={value:g}" for name, value in self.settings.items()]

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        split = {"train": "training", "test": "test"}[self.reference]
        limit = "" if self.references is None else f", its first {self.references:,} images at most"
        return f"{self.count:,} samples ({settings}) against the {split} split{limit}"


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


@dataclass(frozen=True)
class ValueName:
    """What a value was measured under: protocol, images and sampling.

    ``str`` is the key of records, ``PROTOCOL[@IMAGES][:SAMPLING]``. Values of other test images or samplings have other
    names, so that a reduced measurement never replaces a full one.

    >>> str(ValueName("official", 1000))
    'official@1000'
    >>> ValueName.parse("clean:n=500,reference=test").sampling.count
    500
    """

    protocol: str
    images: int | None = None  # the first test images that were measured; None: all
    sampling: Sampling | None = None  # of a generator's samples; None: a value of reconstructions

    @classmethod
    def parse(cls, text: str) -> ValueName:
        """The name that ``str`` spells as ``text``. Raises ValueError for any other text."""
        measured, colon, sampling = text.partition(":")
        protocol, at, images = measured.partition("@")
        if at and not (images.isascii() and images.isdecimal()):
            raise ValueError(f"{text!r} does not name a value: {images!r} is not a number of images")
        return cls(protocol, int(images) if at else None, Sampling.parse(sampling) if colon else None)

    def __str__(self) -> str:
        images = "" if self.images is None else f"@{self.images}"
        sampling = "" if self.sampling is None else f":{self.sampling.name}"
        return f"{self.protocol}{images}{sampling}"

    @property
    def measuring(self) -> MeasureProtocol:
        """The measuring protocol.

        Raises UsageError if this version has none of that name.
        """
        return measuring(self.protocol)
