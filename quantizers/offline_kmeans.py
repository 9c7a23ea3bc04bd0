"""k-means on features of an autoencoder trained without quantization."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq_ema_restart import VQEMARestart


class OfflineKMeans(VQEMARestart):
    """The baseline to beat: a codebook that the encoder does not learn from.

    There is no loss, and no gradient reaches the encoder through the codes.

    Up to the share ``fit_at`` of the training it is the identity: z_q = z. From then on the encoder gets no gradient,
    z_q is the nearest code, and the decoder adapts to it. The codebook is fitted there, by ``kmeans_iterations`` of
    Lloyd's algorithm on a batch of features, and then follows as running means over the batches (vq_ema_restart), which
    is k-means with decaying weights. In evaluation z_q is always the nearest code; before ``fit_at`` that of a codebook
    that follows the features in the same way, so that early checkpoints can be evaluated.

    Before the first training step codes are drawn from U(±√(3/D)). No code was released.

    After the fit the encoder's gradient is zero, but Adam still moves it for some steps by momentum.
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
        self.due = False  # ``fitted`` on the host, without a sync

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training before the fit, return it as is."""
        out = super().forward(z.detach())
        if self.training:
            out.z_q = torch.where(self.fitted, out.z_q, z)
        out.loss = z.new_zeros(())
        return out

    def anneal(self, progress: float) -> None:
        """Make the next step fit the codebook once ``progress`` reaches ``fit_at``."""
        if progress >= self.fit_at and not self.due:
            self.started.logical_and_(self.fitted)  # a run resumed after the fit keeps its codebook
            self.fitted.fill_(True)
            self.due, self._start_done = True, False

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self.due = False
