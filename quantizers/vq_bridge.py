"""VQBridge: a small transformer computes the codes from the codebook."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Blocks, NonNegativeFloat, Width
from vqbench.quantizer import Quantizer, QuantizerOutput


class VQBridge(Quantizer):
    """Choose the nearest code of a codebook that passes through a transformer.

    The codes are bridge(e): ``patch`` codes make a token, a linear map leads to ``hidden`` channels, ``blocks``
    transformer blocks follow over all tokens, and a linear map leads back to ``patch`` codes. So every used code trains
    all others. Loss and gradient are those of vq.

    A block is attention and a network of twice the width with a GELU (by tanh). Each of them, and the last linear map,
    is preceded by a LayerNorm without weights (ε = 1e-6). e starts at U(±1/K), linear maps at Xavier's uniform
    U(±√(6/(fan-in + fan-out))) with biases of 0, except the last one, which starts at zero. No path leads past the
    bridge, so all codes are equal at the start and the first one takes every feature. If ``patch`` does not divide the
    number of codes, zeros fill the last token.

    This is FVQ's released code in its ViT form, the variant that the paper describes, with its setting for 16,384
    codes. Differs from it: a token is 16 consecutive codes, not a 4 × 4 patch of the codes laid out as a square, which
    for a random codebook is the same up to their order and needs no square number of codes; and the learning rate is
    constant instead of rising and falling.
    """

    paper: ClassVar[str] = (
        "Y. Chang, J. Qin, L. Qiao, X. Wang, Z. Zhu, L. Ma, X. Wang, Scalable Training for Vector-Quantized Networks "
        "with 100% Codebook Utilization, 2025, arXiv 2509.10140"
    )

    VERSION: ClassVar[int] = 2  # 2: the released bridge and its starts

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        patch: Width = 16,
        hidden: Width = 256,
        blocks: Blocks = 2,
        heads: Width = 4,
        beta: NonNegativeFloat = 0.25,
    ) -> None:
        super().__init__(num_codes, dim)
        for name, count in {"patch": patch, "hidden": hidden, "heads": heads}.items():
            Q.require(count >= 1, f"{name} must be at least 1, not {count}")
        Q.require(hidden % heads == 0, f"heads must divide hidden, but {heads} does not divide {hidden}")
        self.patch, self.beta = patch, beta
        self.seed = nn.Parameter(Q.initial_codebook(num_codes, dim, "uniform"))
        self.compress = nn.Linear(patch * dim, hidden)
        self.blocks = nn.Sequential(*(Block(hidden, heads) for _ in range(blocks)))
        self.recover = nn.Linear(hidden, patch * dim)
        self.apply(_initialize)
        nn.init.zeros_(self.recover.weight)

    @property
    def codebook(self) -> Tensor:
        """Return the effective codes (num_codes, dim), with a gradient."""
        seed = F.pad(self.seed, (0, 0, 0, -self.num_codes % self.patch))
        tokens = self.blocks(self.compress(seed.view(1, -1, self.patch * self.dim)))  # (1, tokens, hidden)
        codes: Tensor = self.recover(_normalized(tokens))
        return codes.view(-1, self.dim)[: self.num_codes]

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        codebook = self.codebook
        codes = Q.code_map(Q.assign(Q.flatten(z, self.dim), codebook), z)
        z_q = Q.look_up(codes, codebook)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(Q.straight_through(z, z_q), codes, Q.vq_loss(z, z_q, self.beta), logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the effective code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)


class Block(nn.Module):
    """A transformer block: attention and a network, each after a LayerNorm.

    The network has two layers and twice the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attend, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (1, n, width) to tokens."""
        q, k, v = self.attend(_normalized(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.merge(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        y: Tensor = x + self.network(_normalized(x))
        return y


def _normalized(x: Tensor) -> Tensor:
    """Normalize each token to mean 0 and variance 1."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
