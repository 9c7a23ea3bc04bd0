"""The relative error is the quantization error of the textbook divided by the variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqbench.errors import UsageError
from vqbench.functional.relative_error import error_of_sums, error_sums, relative_error


def test_one_code_at_the_mean_has_error_one() -> None:
    """One code at the mean of all features gives 1, the features themselves give 0."""
    z = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1]) + 7
    assert relative_error(z, z.mean(0).expand_as(z)) == pytest.approx(1, rel=1e-6)
    assert relative_error(z, z) == 0


def test_two_codes_of_a_gaussian() -> None:
    """One bit for each dimension of a Gaussian of any variance and mean leaves 1 − 2/π of it (Max, 1960)."""
    z = torch.randn(1_000_000, 2, generator=torch.Generator().manual_seed(0)).double()
    quantized = z.sign() * np.sqrt(2 / np.pi)
    assert relative_error(3 * z - 40, 3 * quantized - 40) == pytest.approx(1 - 2 / np.pi, abs=2e-3)


def test_sums_of_parts_give_the_error_of_the_whole() -> None:
    """Sums of parts add up to NumPy's error of all rows in float64, far from zero too."""
    draw = torch.Generator().manual_seed(1)
    z = torch.randn(300, 4, generator=draw) + 1000
    z_q = z + 0.1 * torch.randn(300, 4, generator=draw)
    parts = [error_sums(*pair) for pair in zip(z.split((200, 1, 99)), z_q.split((200, 1, 99)), strict=True)]
    exact, other = z.double().numpy(), z_q.double().numpy()
    wanted = ((exact - other) ** 2).sum() / (exact.var(0).sum() * len(exact))
    assert error_of_sums({name: sum(part[name] for part in parts) for name in parts[0]}) == pytest.approx(wanted)


def test_features_that_do_not_vary_have_no_relative_error() -> None:
    """Equal features have no variance to divide by: NaN, and shapes that differ are an error."""
    assert np.isnan(relative_error(torch.ones(5, 2), torch.zeros(5, 2)))
    with pytest.raises(UsageError, match=r"\(N, D\)"):
        relative_error(torch.ones(5, 2), torch.ones(5, 3))
