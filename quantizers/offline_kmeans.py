"""k-means on the features of an autoencoder that was trained without quantization: the baseline to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq_ema_restart import VQEMARestart


class OfflineKMeans(VQEMARestart):
    """A codebook that the encoder never learns of. There is no loss, and the encoder gets no gradient by the codes.

    Up to the share ``fit_at`` of the training it is the identity: z_q = z. From then on the encoder rests, z_q is the
    nearest code, and the decoder adapts to it. The codebook is fitted there, by ``kmeans_iterations`` of Lloyd's
    algorithm on a batch of features, and then goes on as running means over the batches (vq_ema_restart), which is
    k-means with every batch's weight decaying. In evaluation z_q is always the nearest code; before ``fit_at`` that of
    a codebook that follows the features in the same way, so that an early checkpoint is no worse than it must be.

    Before the first training step codes are drawn from U(±√(3/D)). There is no released code.

    The encoder rests as far as the optimiser lets it: its gradient is zero, but Adam takes its last steps by momentum.
    """

    paper: ClassVar[str] = (
        "S. P. Lloyd, Least Squares Quantization in PCM, IEEE Transactions on Information Theory 28, 1982 "
        "(k-means; no arXiv version)"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        fit_at: Fraction = 0.8,
        decay: Decay = 0.99,
        epsilon: PositiveFloat = 1e-5,
        kmeans_iterations: NonNegativeInt = 50,
        threshold: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(
            num_codes, dim, decay=decay, epsilon=epsilon, kmeans_iterations=kmeans_iterations, threshold=threshold
        )
        Q.require(0 <= fit_at <= 1, f"fit_at must lie in [0, 1], not {fit_at}")
        self.fit_at = fit_at
        self.fitted = nn.Buffer(torch.zeros((), dtype=torch.bool))
        self.due = False  # what this process knows of ``fitted`` without asking the device

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training before the fit, hand it on as it is."""
        out = super().forward(z.detach())
        if self.training:
            out.z_q = torch.where(self.fitted, out.z_q, z)
        out.loss = z.new_zeros(())
        return out

    def anneal(self, progress: float) -> None:
        """At ``fit_at``, have the next step fit the codebook."""
        if progress >= self.fit_at and not self.due:
            self.started.logical_and_(self.fitted)  # a training that goes on after the fit keeps its codebook
            self.fitted.fill_(True)
            self.due, self._start_done = True, False

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self.due = False
