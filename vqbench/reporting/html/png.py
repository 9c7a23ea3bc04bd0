"""PNG images in a page, at their own size; the browser magnifies them unsmoothed."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PngImage:
    """A PNG in a page, its size in pixels and its magnification."""

    source: str  # a data: URL
    width: int
    height: int
    text: str  # alternative for readers who cannot see it
    times: int = 1

    @property
    def size(self) -> int:
        """Bytes in the page."""
        return len(self.source)


def png_image(levels: np.ndarray, text: str, times: int = 1, palette: np.ndarray | None = None) -> PngImage:
    """Encode ``levels`` as a PNG with a text alternative.

    ``levels``: (H, W), (H, W, 3) or (H, W, 4) uint8; with ``palette``, (n, 3) or (n, 4), its entries (H, W).
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(levels))
    options = {}
    if palette is not None:
        image = Image.fromarray(np.ascontiguousarray(levels), mode="L")
        image.putpalette(palette[:, :3].astype(np.uint8).tobytes(), "RGB")
        if palette.shape[1] == 4:
            options["transparency"] = palette[:, 3].astype(np.uint8).tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return PngImage(source, levels.shape[1], levels.shape[0], text, times)


def strip(images: np.ndarray, gap: int = 0, between: int = 127) -> np.ndarray:
    """Join (P, C, S, S) uint8 images side by side: (S, P·S + gaps), grey or RGB.

    ``between``: the level of the gaps; grey differs from both a light and a dark page.
    """
    count, channels, height, width = images.shape
    sheet = np.full((height, count * (width + gap) - gap, channels), between, dtype=np.uint8)
    for i, each in enumerate(images):
        left = i * (width + gap)
        sheet[:, left : left + width] = each.transpose(1, 2, 0)
    return sheet[..., 0] if channels == 1 else sheet


def magnification(side: int) -> int:
    """Return by how much an image of ``side`` pixels is magnified."""
    return max(1, min(4, 84 // side))
