"""Find the best setting of a codec within a number of bits."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from vqbench.measuring.codecs.image_codecs import ImageCodec


class Compressed(NamedTuple):
    """One image as a file."""

    data: bytes
    setting: int
    bits: int  # of what counts: the whole file, or its payload
    over: bool  # whether even the lowest setting needs more bits than the target


def compressed(image: Image.Image, codec: ImageCodec, target: float, headers: bool) -> Compressed:
    """Compress ``image`` by the highest setting within ``target`` bits.

    It is found by bisection, since sizes hardly ever fall from one setting to the next. Where the lowest needs more, it
    is taken, and marked.
    """

    def at(setting: int) -> Compressed:
        data = codec.encode(image, setting)
        bits = 8 * codec.size(data, headers)
        return Compressed(data, setting, bits, bits > target)

    low, high = codec.settings[0], codec.settings[-1] + 1  # low fits, high does not
    best = at(low)
    if best.over:
        return best
    while high - low > 1:
        middle = (low + high) // 2
        tried = at(middle)
        if tried.over:
            high = middle
        else:
            low, best = middle, tried
    return best
