"""A causal transformer over sequences of codes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Seen = list[tuple[Tensor, Tensor]]  # of each block: keys and values (B, heads, places, width / heads), filled in turn


class DecoderBlock(nn.Module):
    """A pre-norm residual block: causal attention, then a perceptron."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, seen: tuple[Tensor, Tensor] | None = None, place: int = 0) -> Tensor:
        """Map ``x`` (B, L, width) to the same shape.

        With ``seen``, ``x`` (B, 1, width) is at ``place``: its key and value are added, and it attends to all so far.
        """
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if seen is not None:  # (B, heads, places, width / heads), of which one place is written and none copied
            for each, new in zip(seen, (k, v), strict=True):
                each[:, :, place] = new[:, :, 0]
            k, v = (each[:, :, : place + 1] for each in seen)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=seen is None)
        x = x + F.dropout(self.out(attended.transpose(1, 2).flatten(2)), self.dropout, self.training)
        more = self.narrow(F.gelu(self.wide(self.norm_perceptron(x)), approximate="tanh"))
        return x + F.dropout(more, self.dropout, self.training)

    def allocate(self, count: int, places: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return empty keys and values of ``count`` sequences, on the device of ``x``."""
        shape = count, self.heads, places, self.qkv.in_features // self.heads
        return x.new_empty(shape), x.new_empty(shape)


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
            x = block(x)
        scores: Tensor = self.head(self.norm(x))
        return scores

    def step(self, tokens: Tensor, place: int, seen: Seen) -> tuple[Tensor, Seen]:
        """Return scores (B, outputs) of the codes after ``tokens`` (B,), and ``seen`` with this place.

        ``seen``: keys and values of all places before, empty for the first.
        """
        x = self._embedded(tokens[:, None], place)
        seen = seen or [block.allocate(len(tokens), self.places.num_embeddings, x) for block in self.blocks]
        for block, kept in zip(self.blocks, seen, strict=True):
            x = block(x, kept, place)
        return self.head(self.norm(x))[:, 0], seen

    def _embedded(self, tokens: Tensor, start: int) -> Tensor:
        places = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        embedded: Tensor = self.tokens(tokens) + self.places(places)  # (B, L, width)
        return embedded
