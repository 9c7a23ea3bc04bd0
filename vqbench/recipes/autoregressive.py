"""Generation: a transformer over the codes of a trained autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.backbone import Autoencoder
from vqbench.bounds import Decay, Layers, PositiveFloat, PositiveInt, Width
from vqbench.errors import RunError, UsageError
from vqbench.training.engine import Precision
from vqbench.training.latents.prior import Prior
from vqbench.training.latents.recipe import LatentRecipe
from vqbench.training.latents.transformer import CausalTransformer


class Autoregressive(LatentRecipe):
    """A causal transformer over the code map in raster order.

    All codes of a position follow each other.

    The loss is the mean cross-entropy of the codes in nats. AdamW at a constant rate; the moving average of the weights
    is kept (see ``ema`` of the recipe ``diffusion``). Codes of all training images, and with ``flips`` of their mirror
    images, are computed once. The transformer has GPT-2's layout: ``layers`` blocks of ``width`` channels and ``heads``
    heads, with ``dropout`` throughout. Each code is sampled by its probability at a ``temperature``, unlikely codes
    included.

    The length is a number of ``steps`` (updates), or of ``epochs`` over the training images.

    Random numbers of an update derive from the run's seed and the update's number, so that a training that was stopped
    anywhere ends with the same weights. Each of several devices draws dropout for its own part of a batch, so that the
    weights equal those of one device only without dropout. Source: Esser et al., Taming Transformers for
    High-Resolution Image Synthesis, CVPR 2021, arXiv 2012.09841, unconditional and without its sliding window; its idea
    is that of van den Oord et al. (VQ-VAE), NeurIPS 2017, arXiv 1711.00937, whose prior is a PixelCNN.
    """

    VERSION = 1
    check_args: ClassVar = {
        "steps": 5,
        "batch_size": 6,
        "width": 16,
        "layers": 1,
        "heads": 2,
        "dropout": 0.0,
        "ema": 0.9,
    }
    likelihood = True
    sampler: ClassVar[Mapping[str, float]] = {"temperature": 1.0}

    def __init__(
        self,
        *,
        steps: PositiveInt | None = None,
        epochs: PositiveInt | None = None,
        batch_size: PositiveInt = 64,
        learning_rate: PositiveFloat = 3e-4,
        width: Width = 256,
        layers: Layers = 8,
        heads: Width = 8,
        dropout: Decay = 0.1,
        ema: Decay = 0.9999,
        flips: bool = False,
        subset: PositiveInt | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(steps, epochs, batch_size, learning_rate, ema, flips, subset, precision)
        if width % heads:
            raise UsageError(f"autoregressive, argument 'width': {width} channels are not divided by {heads} heads")
        self.width, self.layers, self.heads, self.dropout = width, layers, heads, dropout

    @classmethod
    def wrong_setting(cls, name: str, value: Any) -> str | None:
        right = type(value) in (int, float) and 0 < value <= 10
        return None if right else "a number above 0, at most 10"

    def generator(self, first: Autoencoder, channels: int, size: int) -> Prior:
        with torch.no_grad():
            parameter = next(first.parameters())
            blank = torch.zeros(1, channels, size, size, device=parameter.device)
            shape = first.eval().quantizer(first.backbone.encode(blank)).codes.shape[1:]
        count = first.quantizer.num_codes
        if shape[2] == 0:
            raise RunError("nothing is quantized, so there are no codes to predict; leave this row out")
        net = CausalTransformer(
            shape[2] * count + 1, shape.numel(), count, self.width, self.layers, self.heads, self.dropout
        )
        return Prior(net, first, shape).to(parameter.device)

    def batch(self, generator: Prior, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the tokens (B, L) before the codes, and the codes (B, L)."""
        codes = rows.flatten(1).long()
        return generator.before(codes), codes

    def loss(self, model: nn.Module, tokens: Tensor, codes: Tensor) -> Tensor:  # type: ignore[override]  # what its own batch gives
        return F.cross_entropy(model(tokens).flatten(0, 1).float(), codes.flatten())
