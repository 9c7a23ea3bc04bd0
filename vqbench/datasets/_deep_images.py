"""Do the levels of deep images, of more than 8 bits, fit how they are read?"""

from __future__ import annotations

from collections.abc import Iterator

from vqbench.assets import image_file
from vqbench.datasets._split_files import SOME, Parts, shortened
from vqbench.errors import AssetError

Level = tuple[int, str]  # the highest level of an image, and its name


def deep_images(parts: Parts, colour: bool) -> list[Level]:
    """Return the highest level and name of deep images, the brightest first.

    Of those that can be used and are not all black.
    """
    deep = []
    for part in parts.values():
        sound, index = part.sound, part.index
        chosen = sound[(index.peaks[sound] > 0) & (index.colours[sound] == colour)]
        deep += [(int(index.peaks[each]), index.names[each]) for each in chosen.tolist()]
    return sorted(deep, key=lambda each: -each[0])


def require_bits(title: str, parts: Parts, bits: int, chosen: bool) -> None:
    """Raise AssetError for deep images that ``bits`` make black or too bright.

    ``chosen``: somebody chose these bits.
    """
    grey, colours = deep_images(parts, False), deep_images(parts, True)
    if beyond := [each for each in grey if each[0] >= 2**bits]:
        raise AssetError(f"{title}: {_levels(beyond)}, beyond `bits: {bits}`; set the bits that the images have")
    if not chosen and (dim := _dim(grey, image_file.WORD)):
        likely = next(each for each in (8, 10, 12, 14, 15) if dim[0][0] < 2**each)
        raise AssetError(
            f"{title}: {_levels(dim)}, so would be near black as images of 16 bits; set `bits: {likely}` if "
            f"all images of more than 8 bits have {likely}, or `bits: 16` to use them as they are"
        )
    if (not chosen or bits < image_file.WORD) and (dim := _dim(colours, image_file.WORD)):
        raise AssetError(
            f"{title}: {_levels(dim)}, so would be near black: of 16 bits a colour the upper 8 are read; "
            "convert them to 8 bits, or set `bits: 16` to use them as they are"
        )


def dim_images(title: str, parts: Parts, bits: int) -> Iterator[str]:
    """Yield a note on images that are near black under ``bits``, if any."""
    dark = [each for each in deep_images(parts, False) if each[0] < 2 ** (bits - 4)]
    if dark and bits < image_file.WORD:
        yield f"{title}: {_levels(dark)}, near black under `bits: {bits}`."


def _dim(deep: list[Level], bits: int) -> list[Level]:
    """Return those that are no images of ``bits`` bits by their levels.

    All if none has levels in the upper half, else those near black: an image whose levels stay below a sixteenth of
    white was stored with fewer bits, or shows nothing.
    """
    bound = 2 ** (bits - 1) if deep and deep[0][0] < 2 ** (bits - 1) else 2 ** (bits - 4)
    return [each for each in deep if each[0] < bound]


def _levels(deep: list[Level]) -> str:
    """Return a clause on images and their highest levels."""
    named = [f"{shortened(name)} up to {peak}" for peak, name in deep[:SOME]]
    more = f" and {len(deep) - SOME:,} more" if len(deep) > SOME else ""
    return f"{len(deep):,} images have levels {', '.join(named)}{more}"
