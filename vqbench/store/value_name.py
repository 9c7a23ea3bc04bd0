"""The names that values are stored under."""

from __future__ import annotations

from dataclasses import dataclass

from vqbench.protocol import MeasureProtocol, measuring
from vqbench.store.sampling import Sampling


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
