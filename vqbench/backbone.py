"""The contract of a backbone: an encoder and a decoder around a quantizer."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from vqbench.errors import UsageError


class Backbone(nn.Module):
    """An encoder to a feature map of ``dim`` channels and a decoder back to images in [-1, 1] (not clamped).

    ``__init__(self, channels, dim, **own)``: the images' channels and the codebook's dimension come first.
    """

    paper: ClassVar[str]
    VERSION: ClassVar[int] = 1
    codebook: Tensor | None = None  # (K, dim), where a backbone brings trained weights and the codebook that they had
    factor: int | None = None  # how many pixels a position is wide, where sides must be a multiple of it
    FILLED: ClassVar[tuple[str, ...]] = ("channels", "dim")  # from the data set and the codebook, not from the suite

    @classmethod
    def outline(cls, channels: int, dim: int, **own: Any) -> Backbone:
        """The same modules with any weights, without reading a file: what a suite is planned by."""
        return cls(channels, dim, **own)

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, channels, S, S) in [-1, 1] to features (B, dim, s, s)."""
        raise NotImplementedError

    def decode(self, z_q: Tensor) -> Tensor:
        """Features (B, dim, s, s) to images (B, channels, S, S)."""
        raise NotImplementedError

    def last_layer(self) -> Tensor:
        """The weight of the decoder's last layer, at which recipes hold gradients of losses against each other.

        Unless told otherwise the last parameter, in the order of registration, that is more than a bias or a scale.
        """
        return [parameter for parameter in self.parameters() if parameter.ndim > 1][-1]

    def begin_refinement(self) -> None:
        """Get ready for a second phase of training, of the decoder alone: whatever is not to be trained is frozen.

        Backbones whose second phase needs another decoder override this; what it changes must be part of the state.
        """
        raise UsageError(f"backbone {type(self).__name__} has no second phase of training; leave refine_steps at 0")
