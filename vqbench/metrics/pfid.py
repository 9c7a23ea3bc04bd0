"""Perturbed FID: reconstruction FID with some codes replaced by near ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from vqbench.functional.neighbours import distances
from vqbench.functional.precision import float32_products
from vqbench.images import as_measured
from vqbench.metric import Batch
from vqbench.metrics.rfid import RFID

if TYPE_CHECKING:
    from vqbench.quantizer import Quantizer

ROWS = 256  # codes whose distances to all others are in memory at once


class PerturbedFID(RFID):
    """rFID of reconstructions from codes that a generator might have drawn.

    In a share β of the images, each code is with probability α replaced by one of the δ nearest codes, itself among
    them, all equally likely (Qiu et al. 2025). The codes are decoded and compared with the originals as rFID compares
    reconstructions, under the same protocol; with α or β of 0 it is rFID. At least 0; lower is better.

    Here β = 1, α = 0.5, and δ is 100 for 4,096 codes and in proportion to the codebook, from 4 to 100. α and δ are
    those of the example in the README of the authors' code (lxa9867/ImageFolder; its training uses δ = 100 of 4,096
    codes, too). The settings of the paper's own table could not be verified, so that its values are not comparable.

    Differs from that code: near codes are near to the code, as the paper writes, not to the feature; every image is
    chosen by a draw of its own, not the first ones of a batch. Draws depend on the run's seed and the position of the
    image, so that rows are compared on equal ones. With several codes per position, each is replaced among the codes of
    its own depth. Undefined without a codebook, and for codes that stand for several positions (multi-scale).
    """

    label = "pFID"
    in_paper = False
    ideal = None
    reference = "Qiu et al., Robust Latent Matters: Boosting Image Generation with Sampling Error Synthesis, 2503.08354"
    needs_codes = True
    needs_model = True
    alpha: ClassVar[float] = 0.5  # probability that a code is drawn anew
    beta: ClassVar[float] = 1.0  # share of the images in which codes are

    def reset(self) -> None:
        super().reset()
        self._near: NearCodes | None = None  # of the model of this run

    def features_of_reconstructions(self, batch: Batch) -> Tensor:
        model, codes = self.context.model, batch.codes
        if model is None or codes is None:
            return super().features_of_reconstructions(batch)
        near = self._near = self._near or NearCodes(model.quantizer, codes.device)
        drawn = near.replaced(codes, *self._draws(batch.index, codes.shape[1:], near.count))
        with torch.no_grad():
            with float32_products():
                z_q = model.quantizer.decode(drawn)
            images = model.backbone.decode(z_q)
        return self.features_of_images(as_measured(images.float(), self.context.protocol))

    def update(self, batch: Batch) -> None:
        if self._defined():
            super().update(batch)

    def compute(self) -> float | None:  # type: ignore[override]  # rFID always has a value
        return super().compute() if self._defined() else None

    def _defined(self) -> bool:
        model, shape = self.context.model, self.context.latent_shape
        if model is None or shape is None or self.context.num_codes is None:
            return False
        return model.quantizer.codes_per_image(*shape[1:]) == [shape[1] * shape[2]] * model.quantizer.depth

    def _draws(self, index: Tensor, shape: tuple[int, ...], count: int) -> tuple[Tensor, Tensor]:
        """Draw which codes are replaced, and by which of the ``count`` nearest.

        Both are (B, h, w, depth).
        """
        changed, ranks = [], []
        for position in index.tolist():
            draw = torch.Generator().manual_seed(self.context.seeds("pfid", position))
            chosen = torch.rand((), generator=draw) < self.beta
            changed.append((torch.rand(shape, generator=draw) < self.alpha) & chosen)
            ranks.append(torch.randint(count, shape, generator=draw))
        return torch.stack(changed), torch.stack(ranks)


class NearCodes:
    """The nearest codes of each code, found when it first occurs.

    Args:
        quantizer: Whose codes they are. The vector of a code is what it decodes to beside codes 0 of the other depths.
        device: Where they are compared.
    """

    def __init__(self, quantizer: Quantizer, device: torch.device) -> None:
        self.count = min(quantizer.num_codes, 100, max(4, round(quantizer.num_codes * 100 / 4096)))  # δ
        codes = torch.zeros(quantizer.num_codes, 1, 1, quantizer.depth, dtype=torch.int64, device=device)
        self.vectors = []  # of each depth, (K, D)
        for depth in range(quantizer.depth):
            own = codes.clone()
            own[:, 0, 0, depth] = torch.arange(quantizer.num_codes, device=device)
            with torch.no_grad(), float32_products():
                self.vectors.append(quantizer.decode(own).flatten(1))
        shape = (quantizer.depth, quantizer.num_codes, self.count)
        self._table = torch.zeros(shape, dtype=torch.int32, device=device)  # in rising order of distance
        self._known = torch.zeros(shape[:2], dtype=torch.bool, device=device)

    def replaced(self, codes: Tensor, changed: Tensor, ranks: Tensor) -> Tensor:
        """Replace ``codes`` (B, h, w, depth) where ``changed``.

        ``ranks``: likewise, which of the near codes is taken; 0 is the nearest, usually the code itself.
        """
        changed, ranks = changed.to(codes.device), ranks.to(codes.device)
        near = [self._near(depth, codes[..., depth], ranks[..., depth]) for depth in range(codes.shape[-1])]
        return torch.where(changed, torch.stack(near, -1), codes)

    def _near(self, depth: int, codes: Tensor, ranks: Tensor) -> Tensor:
        """Return the near codes of ``ranks`` (B, h, w)."""
        new = codes.unique()
        for some in new[~self._known[depth, new]].split(ROWS):
            apart = distances(self.vectors[depth][some], self.vectors[depth])  # (n, K)
            self._table[depth, some] = apart.topk(self.count, largest=False).indices.int()
            self._known[depth, some] = True
        return self._table[depth, codes, ranks].long()
