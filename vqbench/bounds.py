"""Declare ranges of numbers in the annotations of a plugin's arguments.

``epochs: PositiveInt`` is an ``int`` for type checkers; a suite with ``epochs: 0`` is refused when it is planned, with
the file, the line and the key. A range of your own is ``Annotated[float, Interval(ge=0, le=2)]``
of the package annotated_types, which pydantic reads too.
"""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Le, Lt, Predicate

RANGES = (Ge, Gt, Le, Lt, Interval, Predicate)
MOST = 2**31  # larger counts are meaningless on today's machines

Codes = Annotated[int, Interval(ge=1, le=2**24)]  # of a codebook, as for a suite's num_codes
PositiveInt = Annotated[int, Interval(ge=1, le=MOST)]
NonNegativeInt = Annotated[int, Interval(ge=0, le=MOST)]
PositiveFloat = Annotated[float, Interval(gt=0, le=1e9)]
NonNegativeFloat = Annotated[float, Interval(ge=0, le=1e9)]
Fraction = Annotated[float, Interval(ge=0, le=1)]  # both ends included
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
Decay = BelowOne  # of a moving average: 1 would never move
Width = Annotated[int, Interval(ge=1, le=2**16)]  # channels, heads, and the side of a window
Halved = Annotated[int, Interval(ge=2, le=2**16)]  # channels of which half are used somewhere
Layers = Annotated[int, Interval(ge=1, le=1000)]
Blocks = Annotated[int, Interval(ge=0, le=1000)]  # that may be left out
Side = Annotated[int, Interval(ge=8, le=2**14)]  # pixels of an image
Bits = Annotated[int, Interval(ge=8, le=16)]  # of a level of an image
Number = Annotated[float, Interval(ge=-1e9, le=1e9)]  # any sign


def whole(text: str, most: int = MOST) -> int | None:
    """Parse a whole number from 1 to ``most``; None for any other text.

    >>> whole("64"), whole("0"), whole("²"), whole("9" * 5000)
    (64, None, None, None)
    """
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return number if 1 <= (number := int(text)) <= most else None


def unbounded(annotation: Any) -> bool:
    """Whether an argument of this type takes numbers without a declared range.

    >>> unbounded(int | None), unbounded(PositiveInt | None), unbounded(bool)
    (True, False, False)
    """
    if typing.get_origin(annotation) is Annotated:
        inner, *notes = typing.get_args(annotation)
        return unbounded(inner) and not any(isinstance(note, RANGES) for note in notes)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(map(unbounded, typing.get_args(annotation)))
    return annotation in (int, float)
