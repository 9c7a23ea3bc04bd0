"""The contract of a quantizer, between a method's file and the recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log2
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn


@dataclass
class QuantizerOutput:
    """The result of one forward pass of a quantizer."""

    z_q: Tensor  # (B, dim, H, W), goes to the decoder and carries the encoder's gradient
    codes: Tensor  # (B, H, W, depth) int64, each in [0, num_codes)
    loss: Tensor  # (), the method's own terms, in the method's own units
    logs: dict[str, Tensor] = field(default_factory=dict)  # scalars to plot; never read by vqbench


class Quantizer(nn.Module):
    """A method that maps a feature map to codes and back.

    ``paper`` names the source (authors, title, venue, arXiv). ``VERSION`` is part of the key of every run; raise it
    whenever a change of the code changes the trained weights. ``presets`` are published variants by name, each a
    mapping of constructor arguments; a suite lists them like quantizers.

    The constructor is ``__init__(self, num_codes, dim, **own)``: the suite's budget comes first, the same for all. All
    other arguments are keyword arguments with defaults and with annotations (``int``, ``float``, ``bool``, ``str``,
    ``Literal[...]`` or an optional of these), since the fully resolved arguments are part of the key.

    Draw random numbers from torch's default generator, which the recipe seeds for every step, through
    :mod:`vqbench.functional`: then a run resumes exactly, and several devices draw alike.

    Args:
        num_codes: codes per entry of the code map, K.
        dim: channels of the feature map, D.
        depth: codes per position.
    """

    paper: ClassVar[str]
    VERSION: ClassVar[int] = 1
    LATER: ClassVar[Mapping[str, Any]] = {}  # arguments added after runs were published -> what was done before
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    upper_bound: ClassVar[bool] = False  # True: not a method, but a bound for all; never ranked in a table
    batch_dependent: ClassVar[bool] = False  # True: codes depend on the batch in evaluation too; marked in tables
    exempt: ClassVar[Mapping[str, str]] = {}  # checks of `vqbench check` that it need not pass -> the reason
    packages: ClassVar[tuple[str, ...]] = ()  # modules of other packages that it needs
    install: ClassVar[str] = ""  # arguments of pip that install them, if not their names
    distributed: ClassVar[bool] = True  # False: not on several ranks, whose codebooks would diverge
    uncapturable: ClassVar[str] = ""  # why its updates cannot be replayed as a CUDA graph; empty: they can

    def __init__(self, num_codes: int, dim: int, depth: int = 1) -> None:
        super().__init__()
        self.num_codes, self.dim, self.depth = num_codes, dim, depth

    if TYPE_CHECKING:  # nn.Module's own returns Any

        def __call__(self, z: Tensor) -> QuantizerOutput: ...

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), a map of float32 or float64 features.

        Codebooks and statistics change only while ``self.training``.
        """
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) for ``codes`` (B, H, W, depth).

        In evaluation these equal ``z_q`` bit for bit. Raises UsageError for codes of another shape.
        """
        raise NotImplementedError

    def objective(self, error: Tensor, out: QuantizerOutput, pixels: int, weight: float = 1.0) -> Tensor:
        """Return the loss to minimise, a scalar.

        By default weight·error + ``out.loss``. Methods with another likelihood, such as SQ-VAE, override this and may
        ignore ``weight``.

        Args:
            error: mean squared reconstruction error over all elements of the batch, (), with a gradient.
            out: the result of the forward pass.
            pixels: elements of one image, C·H·W.
            weight: the protocol's factor on the error: one over the data's variance.
        """
        return weight * error + out.loss

    def anneal(self, progress: float) -> None:
        """Adapt to ``progress``, the finished share of the training in [0, 1].

        Called before every training step; does nothing by default.
        """

    def learning_rates(self) -> Mapping[str, float]:
        """Return learning rates of its own: name of a parameter -> rate, above 0.

        A recipe gives the parameter this rate instead of its own, and keeps it constant. None by default.
        """
        return {}

    @property
    def bits(self) -> float:
        """Bits per position of the code map, for uniformly used codes.

        ``depth`` · log2 ``num_codes``, unless a method overrides it.
        """
        return self.depth * log2(self.num_codes)

    def codes_per_image(self, height: int, width: int) -> list[int]:
        """Return how many codes of each depth describe a code map of ``height, width``.

        One per position, unless a method repeats a code at several positions, as coarse scales do.
        """
        return [height * width] * self.depth
