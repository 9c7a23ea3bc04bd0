"""Runs: what decides their weights, their keys and seeds, and jobs to do them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vqbench.errors import StoreError

PARTS = ("recipe", "backbone", "dataset", "quantizer")
Seeds = Callable[..., int]  # (purpose, counters ...) -> seed
RequiredMetrics = dict[str, dict[str, tuple[int, int]]]  # protocol -> metric -> (metric's version, protocol's version)


@dataclass(frozen=True)
class PluginSpec:
    """A plugin of a run: name, ``VERSION`` and all arguments.

    ``source`` is the digest of the syntax tree of a plugin given as a file, so that an edited one gives other runs.
    """

    name: str
    version: int
    args: Mapping[str, Any]
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the part as JSON data."""
        content = {"name": self.name, "version": self.version, "args": dict(self.args)}
        return content if self.source is None else {**content, "source": self.source}


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the weights of one run, and nothing else.

    ``parent`` is the key of the run that it builds on.
    """

    recipe: PluginSpec
    backbone: PluginSpec
    dataset: PluginSpec
    quantizer: PluginSpec
    seed: int
    parent: str | None = None

    @cached_property
    def key(self) -> str:
        """The run's name, 16 hexadecimal digits.

        They are the first of the sha256 of :meth:`to_dict` as canonical JSON. Canonical is: keys sorted, no white
        space, ASCII, floats by ``repr``. Raises ValueError for NaN or infinity.
        """
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON data; :meth:`from_dict` is the inverse."""
        parts = {part: getattr(self, part).to_dict() for part in PARTS}
        return {**parts, "seed": self.seed, "parent": self.parent}

    @classmethod
    def from_dict(cls, data: Any) -> RunSpec:
        """Create the run from the result of :meth:`to_dict`.

        Raises StoreError for any other data.
        """
        try:
            parts = {part: PluginSpec(**data[part]) for part in PARTS}
            run = cls(**parts, seed=data["seed"], parent=data["parent"])
            exact = run.to_dict() == data and type(run.seed) is int
            exact = exact and all(map(_is_part, parts.values())) and isinstance(run.parent, str | None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"not the description of a run: {error!r}; was it written by another program?") from None
        if not exact:
            raise StoreError("not the description of a run: unknown keys or a wrong type; was it edited by hand?")
        return run


def _is_part(part: PluginSpec) -> bool:
    """Whether name, version and arguments have the right types."""
    return type(part.name) is str and type(part.version) is int and type(part.args) is dict


@dataclass(frozen=True)
class Job:
    """A run to carry out, with the metrics that its record must hold at the end."""

    run: RunSpec
    required: RequiredMetrics
    retry_failed: bool = False  # whether to try again a run that failed earlier
    first_stage: RunSpec | None = None  # the run that must be done before, if it builds on one
    label: str = ""  # of its row in a suite's table; "": its quantizer's name
    generates: bool = True  # where it builds on another run: whether it is a second stage

    @property
    def row(self) -> str:
        """The name of its row; of a second stage, its recipe and the row it builds on."""
        label = self.label or self.run.quantizer.name
        return f"{self.run.recipe.name} on {label}" if self.run.parent is not None and self.generates else label

    def __str__(self) -> str:
        return f"{self.row} on {self.run.dataset.name}, seed {self.run.seed} ({self.run.key})"


# Seeds by purpose: a (seed, data set, purpose) gives equal numbers in every suite, row and restart.


def derive(*what: str | int) -> int:
    """Return a seed in [0, 2^63) that depends on ``what`` alone."""
    text = "\0".join(f"{type(word).__name__}:{word}" for word in what)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeds(seed: int, dataset: str) -> Seeds:
    """Return the function (purpose, counters ...) -> seed of one run.

    It depends on the run's seed and data set, but neither on its quantizer nor on its suite: all quantizers of a seed
    see the same images in the same order and start from the same backbone, so that comparisons are paired.
    """
    return lambda purpose, *counters: derive(seed, dataset, purpose, *counters)
