"""How images are sampled from a generator, and what they are held against: a part of every sampled number's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Reference = Literal["train", "test"]


@dataclass(frozen=True)
class Sampling:
    """``count`` images, made by the ``settings`` of the recipe, against ``references`` images of a split.

    ``references`` None are all of them; fewer are for splits that are in no particular order. The reference is the
    training split by default, as in most published FIDs.
    """

    count: int = 50_000
    reference: Reference = "train"
    references: int | None = None  # the first ones
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """All settings."""
        against = [f"reference={self.reference}"]
        against += [f"references={self.references}"] if self.references is not None else []
        return ",".join([f"n={self.count}", *against, *self._how()])

    @property
    def made(self) -> str:
        """The settings that decide the samples, whatever they are held against."""
        return ",".join([f"n={self.count}", *self._how()])

    def _how(self) -> list[str]:
        return [f"{name}={value:g}" for name, value in self.settings.items()]

    def under(self, protocol: str) -> str:
        """The name that values of such samples are stored under, measured as ``protocol`` says."""
        return f"{protocol}:{self.name}"

    def __str__(self) -> str:
        how = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        split = {"train": "training", "test": "test"}[self.reference]
        some = "" if self.references is None else f", its first {self.references:,} images at most"
        return f"{self.count:,} samples ({how}) against the {split} split{some}"


def sampling_of(name: str) -> Sampling:
    """The inverse of :meth:`Sampling.under`. ValueError for any other name."""
    given = dict(setting.split("=", 1) for setting in name.partition(":")[2].split(",") if "=" in setting)
    try:
        count, reference, references = int(given.pop("n")), given.pop("reference"), given.pop("references", None)
        settings = {setting: _number(value) for setting, value in given.items()}
    except (KeyError, ValueError):
        raise ValueError(f"{name!r} does not name samples") from None
    return Sampling(count, reference, references and int(references), settings)  # type: ignore[arg-type]  # a name that ``under`` gave has a split's


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)
