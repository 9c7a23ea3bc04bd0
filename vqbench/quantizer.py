"""The contract of a quantizer: what a method's one file must offer, and what the recipes may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log2
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn


@dataclass
class QuantizerOutput:
    """What one forward pass of a quantizer gives."""

    z_q: Tensor  # (B, dim, H, W), goes to the decoder and carries the encoder's gradient
    codes: Tensor  # (B, H, W, depth) int64, each in [0, num_codes)
    loss: Tensor  # (), the method's own terms, in the method's own units
    logs: dict[str, Tensor] = field(default_factory=dict)  # scalars to plot; never read by vqbench


class Quantizer(nn.Module):
    """Maps a feature map to codes and back.

    ``paper`` names the source (authors, title, venue, arXiv). ``VERSION`` is raised by hand whenever a change of
    the code changes what a trained run weighs: it is part of every run's key. ``presets`` names published
    variants, each a mapping of constructor arguments; they can be asked for like quantizers of their own.

    The suite's budget comes first and is the same for all: ``__init__(self, num_codes, dim, **own)``.
    All own arguments are keyword arguments with annotations (``int``, ``float``, ``bool``, ``str``,
    ``Literal[...]`` or an optional of these) and defaults, since the fully resolved arguments name a run.

    Random numbers are drawn from torch's default generator, which the recipe seeds anew for every step,
    through :mod:`vqbench.functional`, so that a run resumes exactly and several devices agree.
    """

    paper: ClassVar[str]
    VERSION: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    ceiling: ClassVar[bool] = False  # True: an upper bound, not a method; never best or second in a table
    packages: ClassVar[tuple[str, ...]] = ()  # modules of other packages, without which it cannot be made
    install: ClassVar[str] = ""  # what pip installs them by, where that is not their names
    distributed: ClassVar[bool] = True  # False: must not be trained on several ranks, whose codebooks would part

    def __init__(self, num_codes: int, dim: int, depth: int = 1) -> None:
        super().__init__()
        self.num_codes, self.dim, self.depth = num_codes, dim, depth

    if TYPE_CHECKING:  # nn.Module's own returns Any

        def __call__(self, z: Tensor) -> QuantizerOutput: ...

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W). Codebooks and statistics move only while ``self.training``."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """The vectors (B, dim, H, W) that the decoder gets for ``codes`` (B, H, W, depth): the inverse of ``codes``."""
        raise NotImplementedError

    def objective(self, error: Tensor, out: QuantizerOutput, pixels: int, weight: float = 1.0) -> Tensor:
        """The loss to minimise, from the reconstruction ``error`` and the method's own terms.

        ``error`` is the mean squared error over all elements of the batch, ``weight`` the protocol's factor on it
        (one over the data's variance), ``pixels`` the number of elements of one image (C·H·W). Methods whose
        likelihood is not "error plus term", such as SQ-VAE, override this and may ignore ``weight``.
        """
        return weight * error + out.loss

    def anneal(self, progress: float) -> None:
        """Called before every training step with the share of the training done, in [0, 1]."""

    @property
    def bits(self) -> float:
        """Bits that one position of the code map costs at a uniform code: ``depth · log2 num_codes``."""
        return self.depth * log2(self.num_codes)
