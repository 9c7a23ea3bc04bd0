"""Index backpropagation: the choice has a gradient, so that every code learns."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class IBQ(Quantizer):
    """Choose the code of the largest inner product, with a gradient to all codes.

    Logits ℓ_ik = ⟨z_i, e_k⟩, p = softmax(ℓ), k(i) = argmax_k ℓ_ik; z_q = Σ_k y_ik e_k, y = onehot + p − sg p.

    So the decoder's gradient reaches z and all codes through p. With e the chosen code, which has no gradient by p:
    loss = mean((z_q − z)²) + mean((sg e − z)²) + β·mean((e − sg z)²)
    + entropy·(mean_i H(p'_i) − H(mean_i p'_i)), p' = softmax(ℓ/T), the second entropy over the global batch.

    Codes start at N(0, 1), as in the released code. Memory grows with N·K, in training with its gradients.

    Differs from the released code: entropies have no 1e-5 inside their logarithms; the second one is over the
    batch of all ranks instead of each rank's own; backbone, image loss and learning rate schedule differ too.
    """

    paper: ClassVar[str] = (
        "F. Shi, Z. Luo, Y. Ge, Y. Yang, Y. Shan, L. Wang, Scalable Image Tokenization with Index Backpropagation "
        "Quantization, ICCV 2025, arXiv 2412.02692"
    )

    VERSION: ClassVar[int] = 2  # 2: codes start at N(0, 1) instead of U(±1/K)

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: NonNegativeFloat = 0.25,
        entropy: NonNegativeFloat = 0.05,
        temperature: PositiveFloat = 0.01,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(temperature > 0, f"temperature must be positive, not {temperature}")
        self.beta, self.entropy, self.temperature = beta, entropy, temperature
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "normal"))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        logits = Q.flatten(z, self.dim) @ self.codebook.T  # (N, K)
        codes = Q.code_map(logits.argmax(1), z)
        chosen = Q.look_up(codes, self.codebook)
        mixed, _ = Q.relaxed_sample(logits, None, logits.new_ones(()), self.codebook.detach())  # Σ_k p_k e_k
        z_q = chosen + Q.unflatten(mixed - mixed.detach(), z)  # the code exactly, its gradient by way of p
        certainty, variety = Q.mean_and_total_entropy(logits / self.temperature)
        loss = F.mse_loss(z_q, z) + F.mse_loss(z, chosen.detach()) + self.beta * F.mse_loss(chosen, z.detach())
        loss = loss + self.entropy * (certainty - variety)
        return QuantizerOutput(z_q, codes, loss, Q.usage_logs(Q.code_counts(codes, self.num_codes)))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
