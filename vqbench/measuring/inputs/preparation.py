"""How originals are brought to the size of their reconstructions."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from vqbench.errors import UsageError, nearest

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
WAYS = ("crop", "resize", "squash")
LARGEST = 2**14  # pixels of a side


@dataclass(frozen=True)
class Preparation:
    """A crop or resize by Pillow, whose filters widen with the reduction.

    ``crop``: the centre, without resizing. ``resize``: the shorter side to ``size``, then the centre, as the data set
    ``photos`` does and most evaluation scripts. ``squash``: both sides to ``size``, whatever the aspect.
    """

    way: str
    size: int
    filter: str = "bicubic"

    @classmethod
    def parse(cls, text: str) -> Preparation:
        """Parse ``crop:256``, ``resize:256`` or ``resize:256:bilinear``.

        Raises UsageError.
        """
        way, *rest = text.split(":")
        size = rest[0] if rest else ""
        if way not in WAYS or not size.isdecimal() or not 1 <= int(size) <= LARGEST or len(rest) > 2:
            raise UsageError(
                f"--originals-as {text!r}: write crop:SIZE, resize:SIZE:FILTER or squash:SIZE:FILTER, such as "
                "resize:256:bicubic"
            )
        chosen = rest[1] if len(rest) == 2 else "bicubic"
        if chosen not in FILTERS or (way == "crop" and len(rest) == 2):
            raise UsageError(f"--originals-as {text!r}: {way} has no such filter; {nearest(chosen, FILTERS)}")
        return cls(way, int(size), chosen)

    def __str__(self) -> str:
        return f"{self.way}:{self.size}" + (f":{self.filter}" if self.way != "crop" else "")

    def apply(self, image: Image.Image) -> Image.Image:
        """Return ``image`` at size x size.

        One that is smaller than a crop is returned as it is, so that the sizes are compared and named.
        """
        size, resampling = self.size, FILTERS[self.filter]
        if self.way == "squash":
            return image.resize((size, size), resampling)
        if self.way == "resize":
            scale = size / min(image.size)
            width, height = (max(size, round(side * scale)) for side in image.size)
            image = image if image.size == (width, height) else image.resize((width, height), resampling)
        if min(image.size) < size:
            return image
        left, top = round((image.width - size) * 0.5), round((image.height - size) * 0.5)
        return image.crop((left, top, left + size, top + size))
