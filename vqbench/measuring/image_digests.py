"""Digests of decoded pixels, which do not depend on format and order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from vqbench.images import rounded, to_unit
from vqbench.measuring.inputs.image_input import InputImage
from vqbench.measuring.inputs.value_range import ValueRange, as_unit

SIZE = hashlib.sha256().digest_size  # bytes
NEAR = 1e-6  # of a level in [-1, 1] and its float, after the arithmetic of any range


def image_digest(image: InputImage, scale: ValueRange | None) -> bytes:
    """Return the SHA-256 of one image: shape, type and pixels (C, H, W).

    Grey has one channel, however it is stored. Floats that are levels of 8 bits, in whatever range, are digested as
    these levels; others as float32 in [-1, 1].
    """
    levels = image.levels[:1] if image.grey or equal_channels(image.levels) else image.levels
    if scale is not None:
        x = as_unit(levels.copy(), scale)  # of a file that is read-only
        eight_bits = rounded((x + 1) / 2)
        levels = (eight_bits if torch.allclose(to_unit(eight_bits), x, rtol=0, atol=NEAR) else x).numpy()
    sha = hashlib.sha256(f"{levels.shape} {levels.dtype}".encode())
    sha.update(np.ascontiguousarray(levels).data)
    return sha.digest()


def set_digest(digests: Iterable[bytes]) -> str:
    """Return the SHA-256 of a set of images, from the sorted digests of each."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def side_digests(digests: np.ndarray) -> tuple[str, str]:
    """Return :func:`set_digest` of both sides, of (N, bytes) of each pair."""
    originals, reconstructions = (digests[:, start : start + SIZE] for start in (0, SIZE))
    return set_digest(map(bytes, originals)), set_digest(map(bytes, reconstructions))


def with_codes(digests: list[bytes], codes: Tensor | None) -> list[bytes]:
    """Add the SHA-256 of its codes, (B, h, w, depth), to the digests of each pair."""
    if codes is None:
        return digests
    arrays = codes.cpu().to(torch.int64).numpy()
    return [
        each + hashlib.sha256(np.ascontiguousarray(own).data).digest()
        for each, own in zip(digests, arrays, strict=True)
    ]


def equal_channels(levels: np.ndarray) -> bool:
    """Return whether all channels of (C, H, W) are equal."""
    return bool((levels == levels[:1]).all())
