"""Images to codes and back by a trained model, as its evaluation computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqbench.backbone import Autoencoder
from vqbench.errors import UsageError, counted
from vqbench.evaluation.image_arrays import code_tensor, image_tensor, require_codes, to_model, to_user
from vqbench.evaluation.reconstructions import BATCH
from vqbench.functional import float32_products
from vqbench.images import rounded


@dataclass(frozen=True)
class ImageCoder:
    """A model in evaluation mode, with the images that it was trained on.

    Images pass in batches of as many as in an evaluation, so that a split gives the same bits as there.
    """

    model: Autoencoder
    device: torch.device
    channels: int
    size: int  # side in pixels

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """The codes of one image: (h, w, depth)."""
        codes = self.encode(torch.zeros(1, self.channels, self.size, self.size, dtype=torch.uint8))
        return codes.shape[1], codes.shape[2], codes.shape[3]

    def encode(self, images: Any) -> Tensor:
        """Encode images (N, C, S, S) to codes (N, h, w, depth) int64, on the CPU."""
        self._require_codes()
        checked = self._checked(images)
        return self._in_batches(checked, lambda part: self.model.quantize(to_model(part)).codes)

    def decode(self, codes: Any) -> Tensor:
        """Decode codes (N, h, w, depth) to images (N, C, S, S) float32 in [0, 1]."""
        self._require_codes()
        checked = code_tensor(codes)
        require_codes(checked, self.model.quantizer.num_codes)
        if checked.shape[1:] != (wanted := self.map_shape):
            raise UsageError(
                f"codes of shape {tuple(checked.shape)}: this model's are (N, {', '.join(map(str, wanted))})"
            )
        return self._in_batches(checked, self._decoded)

    def reconstruct(self, images: Any) -> Tensor:
        """Reconstruct images (N, C, S, S), as uint8 or as floats like ``images``."""
        checked = self._checked(images)
        levels = checked.dtype == torch.uint8
        finish: Callable[[Tensor], Tensor] = rounded if levels else lambda unit: unit
        return self._in_batches(checked, lambda part: finish(to_user(self.model(to_model(part))[0])))

    def _decoded(self, codes: Tensor) -> Tensor:
        with float32_products():  # as the quantizer's forward pass
            z_q = self.model.quantizer.decode(codes)
        return to_user(self.model.backbone.decode(z_q))

    @torch.no_grad()
    def _in_batches(self, inputs: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        self.model.eval()
        return torch.cat([compute(part.to(self.device)).cpu() for part in inputs.split(BATCH)])

    def _checked(self, images: Any) -> Tensor:
        tensor = image_tensor(images)
        wanted = (self.channels, self.size, self.size)
        if tuple(tensor.shape[1:]) != wanted:
            channels = counted(self.channels, "channel")
            raise UsageError(
                f"images of shape {tuple(tensor.shape)}: this model was trained on {self.size}x{self.size} pixels and "
                f"{channels}; resize or crop them, or call `.model` itself where its backbone takes other sizes"
            )
        return tensor

    def _require_codes(self) -> None:
        if self.model.quantizer.depth == 0:
            raise UsageError("this run quantizes nothing, so it has no codes; reconstruct its images instead")
