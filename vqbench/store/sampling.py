"""The sampling of images from a generator, and their reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
