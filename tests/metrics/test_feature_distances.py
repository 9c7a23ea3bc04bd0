"""The Fréchet distance of Gaussians in both implementations."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch

from vqbench.errors import RunError
from vqbench.metrics import _feature_distances
from vqbench.metrics._feature_distances import scipy_distance, torch_fidelity_distance


@pytest.mark.parametrize("distance", [scipy_distance, torch_fidelity_distance])
def test_frechet_distance_of_known_gaussians(distance: type) -> None:
    """With commuting covariances the distance is |m - m'|^2 + sum (sqrt s - sqrt s')^2, turned by any rotation."""
    turn = scipy.linalg.qr(np.vander(np.linspace(-1, 1, 5)))[0]
    s1, s2 = np.array([4.0, 1, 9, 0.25, 2]), np.array([1.0, 1, 4, 0.5, 3])
    m1, m2 = np.arange(5.0), np.array([0.0, 1, 2, 3, 6])
    value = distance(m1, turn @ np.diag(s1) @ turn.T, m2, turn @ np.diag(s2) @ turn.T)
    assert value == pytest.approx(4 + ((np.sqrt(s1) - np.sqrt(s2)) ** 2).sum(), rel=1e-10)


def test_singular_product_falls_back_to_an_offset() -> None:
    """Two covariances of rank one whose product has no finite root in scipy still have a distance, up to the offset."""
    a, b = np.array([2.0, 0, 1, 2, -1, 2, 2]), np.array([0.0, 1, -1, -2, 2, 0, 2])
    cov1, cov2 = np.outer(a, a), np.outer(b, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not np.isfinite(scipy.linalg.sqrtm(cov1 @ cov2)).all()  # else this test proves nothing
    value = scipy_distance(np.zeros(7), cov1, np.zeros(7), cov2)
    assert value == pytest.approx(a @ a + b @ b - 2 * abs(a @ b), abs=0.02)


def test_complex_root_is_refused() -> None:
    """Where the root is not real beyond 1e-3 its imaginary part is not dropped in silence."""
    with pytest.raises(RunError, match="imaginary"):
        scipy_distance(np.zeros(2), -np.eye(2), np.zeros(2), np.eye(2))


def test_moments_of_sums_are_moments() -> None:
    """Moments by sums over batches, as of rFID, and by all features at once, as of FID, agree to rounding."""
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) + 3
    exact = features.double()
    sums = _feature_distances.moments_of_sums(torch.tensor(50.0).double(), exact.sum(0), exact.T @ exact)
    for one, other in zip(sums, _feature_distances.moments(features), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
