"""Forward and backward passes of a batch, split at the reconstructions.

The losses of a reconstruction x̂ reach the model only by ∂loss/∂x̂. That gradient is computed first, through the
perceptual network and the discriminator, whose graphs are then freed, and only then passed on into the decoder. The
gradients of two losses at the decoder's last layer, which weigh them, then cost one more layer each instead of another
backward pass through both networks.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from vqbench.backbone import Autoencoder
from vqbench.functional.precision import strictly
from vqbench.quantizer import QuantizerOutput
from vqbench.training.engine import Engine


class BatchPass(Protocol):
    """A batch between its forward and its backward pass."""

    images: Tensor  # x̂, (B, C, S, S) float32, without a gradient
    out: QuantizerOutput

    def at_last_layer(self, *gradients: Tensor) -> list[Tensor]:
        """Return ``gradients`` at x̂, taken back to the decoder's last weight."""

    def backward(self, own: Tensor, gradient: Tensor) -> None:
        """Add the gradients of ``own`` (), from ``out.loss``, and at x̂."""


class FullBatch:
    """A batch in one piece."""

    def __init__(self, model: Autoencoder, engine: Engine, x: Tensor) -> None:
        self.model = model
        with engine.autocast():
            z = model.backbone.encode(x)
        self.out = strictly(model.quantizer, z.float())
        with engine.autocast():
            self.reconstruction = model.backbone.decode(self.out.z_q).float()
        self.images = self.reconstruction.detach()

    def at_last_layer(self, *gradients: Tensor) -> list[Tensor]:
        weight = self.model.backbone.last_layer()
        return [_gradient(self.reconstruction, weight, gradient) for gradient in gradients]

    def backward(self, own: Tensor, gradient: Tensor) -> None:
        _backward([(own, None), (self.reconstruction, gradient)])


class MicroBatches:
    """A batch in ``count`` parts, for a device too small for the whole.

    Encoder and decoder process each image by itself, so parts of a batch give the same result as the whole. Quantizers
    do not: running means, anchors and entropies follow from all features of a batch. So all images are encoded first,
    the quantizer sees all features at once, and the parts are computed a second time in the backward pass.
    """

    def __init__(self, model: Autoencoder, engine: Engine, x: Tensor, count: int) -> None:
        self.model, self.engine = model, engine
        self.x = x.chunk(count)
        with torch.no_grad():
            z = torch.cat([self._encode(part) for part in self.x])
        self.z = z.requires_grad_(any(parameter.requires_grad for parameter in model.backbone.parameters()))
        self.out = strictly(model.quantizer, self.z)
        self.z_q = [part.requires_grad_() for part in self.out.z_q.detach().chunk(count)]
        with torch.no_grad():
            self.images = torch.cat([self._decode(part) for part in self.z_q])

    def at_last_layer(self, *gradients: Tensor) -> list[Tensor]:
        weight = self.model.backbone.last_layer()
        sums = [torch.zeros_like(weight, dtype=torch.float32) for _ in gradients]
        for z_q, *parts in zip(self.z_q, *(gradient.chunk(len(self.x)) for gradient in gradients), strict=True):
            reconstruction = self._decode(z_q)
            for total, part in zip(sums, parts, strict=True):
                total += _gradient(reconstruction, weight, part)
        return sums

    def backward(self, own: Tensor, gradient: Tensor) -> None:
        for z_q, part in zip(self.z_q, gradient.chunk(len(self.x)), strict=True):
            _backward([(self._decode(z_q), part)])
        _backward([(own, None), (self.out.z_q, torch.cat([part.grad for part in self.z_q]))])  # type: ignore[misc]  # all have a gradient by now
        if self.z.grad is not None:
            for x, part in zip(self.x, self.z.grad.chunk(len(self.x)), strict=True):
                _backward([(self._encode(x), part)])

    def _encode(self, x: Tensor) -> Tensor:
        with self.engine.autocast():
            return self.model.backbone.encode(x).float()

    def _decode(self, z_q: Tensor) -> Tensor:
        with self.engine.autocast():
            return self.model.backbone.decode(z_q).float()


def _gradient(output: Tensor, weight: Tensor, upstream: Tensor) -> Tensor:
    """Return the gradient at ``weight`` alone, in float32, and keep the graph."""
    (gradient,) = torch.autograd.grad(output, weight, upstream, retain_graph=True)
    return gradient.float()


def _backward(pairs: list[tuple[Tensor, Tensor | None]]) -> None:
    """Propagate gradients back from those tensors that have a graph."""
    roots = [(tensor, gradient) for tensor, gradient in pairs if tensor.requires_grad]
    if roots:
        torch.autograd.backward([tensor for tensor, _ in roots], [gradient for _, gradient in roots])
