"""Rows of theory: their relative error is the number that a formula gives."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
import torch

from vqbench.errors import UsageError
from vqbench.functional.relative_error import relative_error as measured
from vqbench.quantizers.distortion_bound import DistortionBound, relative_error


@pytest.mark.parametrize(("num_codes", "dim"), [(64, 1), (512, 8), (2, 64)])
def test_a_row_has_the_error_of_its_bound(num_codes: int, dim: int) -> None:
    """The measured relative error of features with mean 0 is K^(−2/D), the Gaussian's rate-distortion function."""
    z = torch.randn(4096, dim, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    z -= z.mean(0)
    out = DistortionBound(num_codes, dim)(z)
    assert measured(z.flatten(1), out.z_q.flatten(1)) == pytest.approx(2 ** (-2 * np.log2(num_codes) / dim), rel=1e-6)
    assert out.codes.shape == (4096, 1, 1, 0)


def order_norm(density: np.ndarray, cell: float, dim: int) -> float:
    """Return (∫ p^(D/(D+2)))^((D+2)/D) of a density on a grid."""
    power = dim / (dim + 2)
    return float((density**power).sum() * cell) ** (1 / power)


def test_zador_s_value_is_the_integral_of_the_density() -> None:
    """In 1 and 2 dimensions it is G·‖p‖·K^(−2/D) by integration on a grid, and Panter and Dite's √3π/2 in one."""
    x = np.linspace(-12, 12, 2401)
    step, normal = x[1] - x[0], np.exp(-(x**2) / 2) / sqrt(2 * pi)
    interval, hexagon = 1 / 12, 5 / (36 * sqrt(3))
    one, two = order_norm(normal, step, 1), order_norm(normal[:, None] * normal, step**2, 2)
    assert relative_error(10, 1, "zador", "gaussian") == pytest.approx(interval * one / 100, rel=1e-6)
    assert relative_error(10, 1, "zador", "gaussian") == pytest.approx(sqrt(3) * pi / 2 / 100)
    assert relative_error(10, 2, "zador", "gaussian") == pytest.approx(hexagon * two / 10, rel=1e-6)
    assert relative_error(10, 1, "zador", "uniform") == pytest.approx(1 / 100)  # the uniform grid, exact for every K


def test_the_second_moment_of_the_hexagon_by_integration() -> None:
    """5/(36√3) is ∫‖x‖² over a regular hexagon, divided by dimension and squared area."""
    draw = np.random.default_rng(0).uniform(-1, 1, (2**21, 2))
    inside = np.ones(len(draw), dtype=bool)
    for angle in np.arange(3) * pi / 3:  # of inradius √3/2
        inside &= np.abs(draw @ [np.cos(angle), np.sin(angle)]) <= sqrt(3) / 2
    area = 4 * inside.mean()
    assert area == pytest.approx(3 * sqrt(3) / 2, rel=2e-3)
    assert (draw[inside] ** 2).sum(1).mean() / (2 * area) == pytest.approx(5 / (36 * sqrt(3)), rel=3e-3)


def test_bounds_are_in_order() -> None:
    """For large K, Zador's value is above the rate-distortion bound, of both sources."""
    for source in ("gaussian", "uniform"):
        for dim in (1, 2):
            low, high = (relative_error(512, dim, bound, source) for bound in ("rate_distortion", "zador"))  # type: ignore[arg-type]
            assert low < high


def test_an_unknown_constant_and_decoding_are_refused() -> None:
    """For three dimensions nobody has proven the constant, and a number has no codes."""
    with pytest.raises(UsageError, match="known for dim 1 and 2, not for 3"):
        DistortionBound(64, 3, bound="zador")
    with pytest.raises(UsageError, match="no codes"):
        DistortionBound(64, 3).decode(torch.zeros(1, 1, 1, 0, dtype=torch.int64))
