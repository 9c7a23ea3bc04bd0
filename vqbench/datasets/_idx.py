"""Read idx3, the file format of MNIST and its relatives."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.errors import AssetError


def idx_images(data: bytes) -> Tensor:
    """Return the images (N, 1, H, W) uint8 in the bytes of an idx3 file.

    Its head is four big-endian int32: 0x803, N, H, W. Raises AssetError for anything else.
    """
    magic, n, height, width = (int.from_bytes(data[i : i + 4], "big") for i in range(0, 16, 4))
    if magic != 0x803 or not n or len(data) != 16 + n * height * width:
        raise AssetError("not a whole idx3 file of bytes; delete it, and it is fetched again")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=16).view(n, 1, height, width)
