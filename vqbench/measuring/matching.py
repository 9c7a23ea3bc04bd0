"""Which reconstruction is of which original."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vqbench.errors import UsageError, counted, shortened
from vqbench.measuring.inputs.image_input import ImageInput

SOME = 5  # names in one message


@dataclass(frozen=True)
class Matched:
    """Pairs of positions, in the order that they are measured in."""

    names: list[str]  # of each pair; its number where inputs are arrays
    originals: list[int]
    reconstructions: list[int]
    by: str  # "name" or "position"

    def __len__(self) -> int:
        return len(self.names)


def matched(originals: ImageInput, reconstructions: ImageInput, by_order: bool = False) -> Matched:
    """Pair images: by name, arrays by position.

    If ``by_order``, files are paired by position as well, in natural order. Raises UsageError for images without a
    partner, and for files against an array unless ``by_order``.
    """
    left, right = originals.names, reconstructions.names
    if not by_order and (left is None) != (right is None):
        raise UsageError(
            f"{originals.path} ({originals.kind}), {reconstructions.path} ({reconstructions.kind}): an array has no "
            "names; --by-order matches by position, files in natural order"
        )
    if by_order or left is None or right is None:
        return _by_position(originals, reconstructions)
    return _by_name(originals, reconstructions, left, right)


def natural_order(names: Sequence[str]) -> list[int]:
    """Return positions in the order of ``names``, numbers as such: 9 before 10.

    >>> natural_order(["b1", "a10", "a9"])
    [2, 1, 0]
    """

    def key(position: int) -> list[tuple[int, int, str]]:
        words = re.split(r"([0-9]+)", names[position])
        return [(0, int(word), word) if word.isdecimal() else (1, 0, word) for word in words]

    return sorted(range(len(names)), key=key)


def _by_position(originals: ImageInput, reconstructions: ImageInput) -> Matched:
    if len(originals) != len(reconstructions):
        raise UsageError(
            f"{counted(len(originals), 'original')} in {originals.path}, but "
            f"{counted(len(reconstructions), 'reconstruction')} in {reconstructions.path}; give one for each image"
        )
    left, right = (_order(each) for each in (originals, reconstructions))
    named = originals if originals.names is not None else reconstructions
    order = left if named is originals else right
    names = [f"{number:06}" for number in order] if named.names is None else [named.names[place] for place in order]
    return Matched(names, left, right, "position")


def _order(images: ImageInput) -> list[int]:
    return list(range(len(images))) if images.names is None else natural_order(images.names)


def _by_name(originals: ImageInput, reconstructions: ImageInput, left: Sequence[str], right: Sequence[str]) -> Matched:
    places = {name: place for place, name in enumerate(right)}
    known = set(left)
    missing = [name for name in left if name not in places]
    extra = [name for name in right if name not in known]
    if len(missing) == len(left):
        raise UsageError(
            f"no names match: {originals.path} has {_some(left)}, {reconstructions.path} has {_some(right)}; give "
            "images of the same relative names, or --by-order"
        )
    if missing or extra:
        parts = [
            f"{counted(len(names), what)} without a partner ({_some(names)})"
            for names, what in ((missing, "original"), (extra, "reconstruction"))
            if names
        ]
        raise UsageError(
            f"{len(left):,} originals, {len(right):,} reconstructions: {', '.join(parts)}; add or remove them"
        )
    order = sorted(range(len(left)), key=lambda place: left[place])
    names = [left[place] for place in order]
    return Matched(names, order, [places[name] for name in names], "name")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SOME:,} more" if len(names) > SOME else ""
    return ", ".join(shortened(name, 40) for name in names[:SOME]) + more
