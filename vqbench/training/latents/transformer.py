"""A causal transformer over sequences of codes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Seen = list[tuple[Tensor, Tensor]]  # of each block: keys and values (B, heads, places so far, width / heads)


class DecoderBlock(nn.Module):
    """A pre-norm residual block: causal attention, then a perceptron."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, before: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map ``x`` (B, L, width), after ``before``, to the same shape.

        Returns keys and values too, for later places.
        """
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if before is not None:  # one more place, which attends to all
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)  # (B, heads, L', width / heads)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=before is None)
        x = x + F.dropout(self.out(seen.transpose(1, 2).flatten(2)), self.dropout, self.training)
        more = self.narrow(F.gelu(self.wide(self.norm_perceptron(x)), approximate="tanh"))
        return x + F.dropout(more, self.dropout, self.training), (k, v)


class CausalTransformer(nn.Module):
    """GPT-2's layout, from tokens to scores of ``outputs`` codes.

    Weights start as GPT-2's: standard deviation 0.02, and 0.02 / √(2 layers) in layers that end a residual branch.
    """

    def __init__(
        self, tokens: int, places: int, outputs: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.tokens, self.places = nn.Embedding(tokens, width), nn.Embedding(places, width)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, dropout) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                added = name.endswith(("out.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * layers) if added else 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return scores (B, L, outputs) of the codes after ``tokens`` (B, L)."""
        x = F.dropout(self._embedded(tokens, 0), self.dropout, self.training)
        for block in self.blocks:
            x, _ = block(x)
        scores: Tensor = self.head(self.norm(x))
        return scores

    def step(self, tokens: Tensor, place: int, seen: Seen) -> tuple[Tensor, Seen]:
        """Return scores (B, outputs) of the codes after ``tokens`` (B,).

        Returns ``seen`` too, extended by this place.

        ``seen``: keys and values of all places before, empty for the first.
        """
        x, now = self._embedded(tokens[:, None], place), []
        for index, block in enumerate(self.blocks):
            x, kept = block(x, seen[index] if seen else None)
            now.append(kept)
        return self.head(self.norm(x))[:, 0], now

    def _embedded(self, tokens: Tensor, start: int) -> Tensor:
        places = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        embedded: Tensor = self.tokens(tokens) + self.places(places)  # (B, L, width)
        return embedded
