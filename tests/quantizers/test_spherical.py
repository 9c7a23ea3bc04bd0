"""Fixed codes on the sphere: where they lie, and what reaches encoder and decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vqbench.functional as Q
from tests.support.quantizing import as_map, pass_through, wave
from vqbench.errors import UsageError
from vqbench.quantizers.spherical import Spherical, fibonacci


def test_three_dimensions_give_the_fibonacci_lattice() -> None:
    """In NumPy: heights 1 - 2(i + 1/2)/K, and the golden ratio's share of a turn from one point to the next."""
    steps = np.arange(100) + 0.5
    height, turn = 1 - 2 * steps / 100, 2 * np.pi * steps * 2 / (1 + np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    expected = np.stack([height, radius * np.cos(turn), radius * np.sin(turn)], 1)
    np.testing.assert_allclose(fibonacci(100, 3), expected, atol=1e-6)


def test_two_dimensions_give_equal_angles() -> None:
    """Points on a circle are 360/K degrees apart."""
    points = fibonacci(12, 2)
    cosines = (points * points.roll(1, 0)).sum(1)
    torch.testing.assert_close(cosines, torch.full((12,), float(np.cos(np.pi / 6))))


@pytest.mark.parametrize("dim", [4, 8, 24])
def test_many_dimensions_are_covered_evenly(dim: int) -> None:
    """Unit vectors with a mean near 0 and the second moments of the sphere, of which no two are close."""
    points = fibonacci(4096, dim).double()
    torch.testing.assert_close(points.norm(dim=1), torch.ones(4096, dtype=torch.float64))
    assert points.mean(0).norm() < 0.01
    moments = points.T @ points / 4096 * dim
    assert (moments - torch.eye(dim)).abs().max() < 0.1
    assert points.square().mean(0).mul(dim).sub(1).abs().max() < 0.02
    apart = torch.cdist(points, points) + 9 * torch.eye(4096)
    assert apart.min() > {4: 0.08, 8: 0.2, 24: 0.4}[dim]


def test_fibonacci_codes_are_more_even_than_random_ones_in_few_dimensions() -> None:
    """The mean squared distance of a point on the sphere in four dimensions from its code is smaller."""
    u = torch.nn.functional.normalize(torch.randn(5000, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    torch.manual_seed(0)
    errors = [
        (2 - 2 * (u @ Spherical(512, 8, points=points, code_dim=4).codebook.T).amax(1)).mean().item()  # type: ignore[arg-type]
        for points in ("fibonacci", "random")
    ]
    assert errors[0] < 0.8 * errors[1]


def test_random_codes_follow_the_seed_and_are_saved() -> None:
    """Codes are drawn with the other weights; the lattice is the same for every seed."""
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        drawn.append([Spherical(16, 8, points=points).state_dict()["codebook"] for points in ("random", "fibonacci")])  # type: ignore[arg-type]
    assert not torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])


def test_quantization_is_its_formula() -> None:
    """NumPy: the code of the largest cosine goes on, without loss; the gradient at z is tangential."""
    quantizer = pass_through(Spherical(20, 5, code_dim=5).double())
    z, upstream = as_map(2 * wave(9, 5, 3)).requires_grad_(), wave(9, 5, 200)
    out = quantizer(z)
    rows, codebook = Q.flatten(z.detach(), 5).numpy(), quantizer.codebook.numpy()
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / length
    chosen = (unit @ codebook.T).argmax(1)
    assert out.codes.flatten().tolist() == chosen.tolist()
    np.testing.assert_allclose(Q.flatten(out.z_q, 5).detach(), codebook[chosen], atol=1e-12)
    assert out.loss == 0
    (out.z_q * as_map(upstream)).sum().backward()
    g = upstream.numpy()
    assert z.grad is not None
    expected = (g - (g * unit).sum(1, keepdims=True) * unit) / length
    np.testing.assert_allclose(Q.flatten(z.grad, 5), expected, atol=1e-12)


def test_a_sphere_needs_two_dimensions() -> None:
    """One dimension, or a set of points that is not known, raises UsageError."""
    with pytest.raises(UsageError, match="code_dim must be at least 2"):
        Spherical(8, 4, code_dim=1)
    with pytest.raises(UsageError, match="unknown points 'leech'"):
        Spherical(8, 4, points="leech")  # type: ignore[arg-type]
