"""Features, codebooks and training steps that the tests of quantizers share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.quantizer import Quantizer

NUM_CODES, DIM = 24, 6


def double(values: list[list[float]]) -> Tensor:
    """A float64 matrix."""
    return torch.tensor(values, dtype=torch.float64)


CODEBOOK = double([[0.5, 0.1], [-0.3, 0.4], [0.2, -0.6], [3, 3]])
FEATURES = double([[0.4, 0.2], [-0.2, 0.5], [0.1, -0.7], [0.6, -0.1]])
IMAGE = FEATURES.T.reshape(1, 2, 2, 2)  # one image of 2 x 2 positions, in raster order

TOY = double([[1, 2], [0, -1]])  # two features
TOY_CODES = double([[0, 0], [1, 1], [-1, 2]])
TOY_IMAGE = TOY.T.reshape(1, 2, 1, 2)


def feature_map(batch: int = 5, side: int = 4, seed: int = 1) -> Tensor:
    """A feature map (batch, DIM, side, side + 1), unequal sides, with a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, DIM, side, side + 1, generator=generator).requires_grad_()


def wave(rows: int, columns: int, start: int) -> Tensor:
    """Numbers in [-1, 1] in closed form, float64: sin 1.7(start + i), row by row."""
    return torch.sin(1.7 * (start + torch.arange(rows * columns, dtype=torch.float64))).view(rows, columns)


def as_map(rows: Tensor) -> Tensor:
    """Features (N, D) as a map (1, D, 1, N)."""
    return rows.T[None, :, None]


def all_signs(num_bits: int) -> Tensor:
    """All codes of L bits as signs (2^L, L), the first bit the highest."""
    return torch.tensor([[2 * (code >> bit & 1) - 1 for bit in range(num_bits)][::-1] for code in range(2**num_bits)])


def pass_through(quantizer: Any) -> Any:
    """The quantizer with its linear maps set to the identity: ``dim`` is its own number of channels."""
    for linear in (quantizer.project_in, quantizer.project_out):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    return quantizer


def train_step(quantizer: Quantizer, z: Tensor, seed: int) -> Tensor:
    """Take one step of plain gradient descent, seeded as a recipe seeds it, and return the objective."""
    torch.manual_seed(seed)
    quantizer.anneal(0.3)
    quantizer.zero_grad()
    out = quantizer(z)
    target = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
    loss = quantizer.objective((out.z_q - target).square().mean(), out, pixels=z[0].numel())
    loss.backward()
    with torch.no_grad():
        for name, parameter in quantizer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            parameter.sub_(0.01 * parameter.grad)
    return loss.detach()


def cold_sample(quantizer: Quantizer, temperature: float) -> tuple[Tensor, float]:
    """The share (K,) of each code among 10,000 samples of features at 0, and how many samples are one code vector."""
    quantizer.get_buffer("temperature").fill_(temperature)
    out = quantizer(torch.zeros(1, quantizer.dim, 100, 100))
    codebook = quantizer.get_parameter("codebook").detach()
    distances = torch.cdist(Q.flatten(out.z_q.detach(), quantizer.dim), codebook)
    share = torch.bincount(distances.argmin(1), minlength=quantizer.num_codes) / 1e4
    return share, float((distances.amin(1) < 1e-3).float().mean())
