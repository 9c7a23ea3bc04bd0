"""The contract of a backbone, and the autoencoder that it forms with a quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vqbench.errors import UsageError
from vqbench.functional.precision import strictly
from vqbench.quantizer import Quantizer, QuantizerOutput


class Backbone(nn.Module):
    """An encoder to a feature map, and a decoder back to images.

    Images are in [-1, 1]; the decoder's are not clamped. The map has ``dim`` channels.
    ``__init__(self, channels, dim, **own)``: the images' channels and the codebook's dimension come first.

    >>> class Patches(Backbone):
    ...     paper, factor = "none", 4
    ...     def __init__(self, channels, dim):
    ...         super().__init__()
    ...         self.down, self.up = nn.Conv2d(channels, dim, 4, 4), nn.ConvTranspose2d(dim, channels, 4, 4)
    ...     def encode(self, x):
    ...         return self.down(x)
    ...     def decode(self, z_q):
    ...         return self.up(z_q)
    """

    paper: ClassVar[str]
    VERSION: ClassVar[int] = 1  # raised by hand when a change of the code changes what is trained
    exempt: ClassVar[Mapping[str, str]] = {}  # checks of `vqbench check` that it need not pass -> the reason
    check_args: ClassVar[Mapping[str, Any]] = {}  # of a small one, by which `vqbench check` tests the class
    codebook: Tensor | None = None  # (K, dim) of the trained weights that a backbone brings, None without
    factor: int | None = None  # pixels per position along a side, where sides must be a multiple of it
    FILLED: ClassVar[tuple[str, ...]] = ("channels", "dim")  # from the data set and the codebook, not from the suite

    @classmethod
    def outline(cls, channels: int, dim: int, **own: Any) -> Backbone:
        """Return the same modules with any weights, to plan a suite by.

        Must not read any file.

        Args:
            channels: Channels of the images, 1 or 3.
            dim: Channels of the feature map.
            own: The other arguments of ``__init__``.

        Raises:
            UsageError: The arguments do not fit together.
        """
        return cls(channels, dim, **own)

    def encode(self, x: Tensor) -> Tensor:
        """Map images (B, channels, S, S) in [-1, 1] to features (B, dim, s, s)."""
        raise NotImplementedError

    def decode(self, z_q: Tensor) -> Tensor:
        """Map quantized features (B, dim, s, s) to images (B, channels, S, S)."""
        raise NotImplementedError

    def last_layer(self) -> Tensor:
        """Return the weight of the decoder's last layer.

        Recipes balance the gradients of losses there. By default the last parameter, in the order of registration, that
        is neither a bias nor a scale.
        """
        return [parameter for parameter in self.parameters() if parameter.ndim > 1][-1]

    def begin_refinement(self) -> None:
        """Prepare a second phase of training, of the decoder alone.

        All other parameters are frozen. A backbone whose second phase has another decoder overrides this; what it
        changes must be in the state dict.

        Raises:
            UsageError: The backbone has no second phase.
        """
        raise UsageError(f"backbone {type(self).__name__} has no second phase of training; leave refine_steps at 0")


class Autoencoder(nn.Module):
    """A backbone and a quantizer, trained together."""

    def __init__(self, backbone: Backbone, quantizer: Quantizer) -> None:
        super().__init__()
        self.backbone, self.quantizer = backbone, quantizer

    def forward(self, x: Tensor) -> tuple[Tensor, QuantizerOutput]:
        """Reconstruct images (B, C, S, S) in [-1, 1].

        Returns the reconstructions, of the same shape and not clamped, and the quantizer's output.
        """
        out = self.quantize(x)
        return self.backbone.decode(out.z_q), out

    def quantize(self, x: Tensor) -> QuantizerOutput:
        """Encode and quantize images (B, C, S, S) in [-1, 1]."""
        return self.quantize_features(self.backbone.encode(x))

    def quantize_features(self, z: Tensor) -> QuantizerOutput:
        """Quantize features ``z`` (B, dim, s, s) of the encoder."""
        with torch.autocast(z.device.type, enabled=False):  # assignments are decided in float32 at every precision
            return strictly(self.quantizer, z.float())
