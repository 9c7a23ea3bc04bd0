"""Images of a split that are read from their files when they are used."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from vqbench.assets import image_file
from vqbench.datasets._index import Index
from vqbench.errors import AssetError


class FileImages:
    """The images of a split at ``size``, a :class:`vqbench.dataset.Images`.

    They are those at ``positions`` (N,) of an index, in this order. The shorter side is resized to ``size`` and the
    centre cropped. Augmented for training, the position of the crop is drawn if ``random_crop``, and half of the images
    are mirrored if ``flip``. ``bits``: see :func:`vqbench.assets.image_file.examined`.
    """

    def __init__(
        self, index: Index, positions: np.ndarray, size: int, random_crop: bool, flip: bool, bits: int = image_file.WORD
    ) -> None:
        self.index, self.positions, self.size = index, positions, size
        self.random_crop, self.flip, self.bits = random_crop, flip, bits

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        chosen = range(len(self))[which] if isinstance(which, slice) else which.tolist()
        return self._stacked(self._read(number) for number in chosen)

    def augmented(self, which: Tensor, seed: int) -> Tensor:
        """Return images augmented by ``seed``, see :class:`vqbench.dataset.Images`."""
        return self._stacked(self._drawn(number, seed) for number in which.tolist())

    def _drawn(self, number: int, seed: int) -> np.ndarray:
        draw = random.Random(f"{seed}:{number}")  # a text is hashed by sha512, the same on every machine
        across, down, mirror = draw.random(), draw.random(), draw.random() < 0.5
        return self._read(number, *((across, down) if self.random_crop else (0.5, 0.5)), self.flip and mirror)

    def _read(self, number: int, across: float = 0.5, down: float = 0.5, mirror: bool = False) -> np.ndarray:
        """Read one image: (3, size, size) uint8."""
        position = int(self.positions[number])
        data = self.index.read(position)
        try:
            return image_file.fit(image_file.decode(data, self.bits), self.size, across, down, mirror)
        except image_file.Unreadable as reason:
            name = self.index.root / self.index.names[position]
            raise AssetError(f"{name}: could be decoded when it was checked, but not now ({reason})") from reason

    def _stacked(self, images: Iterable[np.ndarray]) -> Tensor:
        """Stack images to (B, 3, size, size) uint8."""
        arrays = list(images)
        return torch.from_numpy(np.stack(arrays)) if arrays else torch.empty(0, 3, self.size, self.size).byte()
