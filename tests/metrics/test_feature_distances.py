"""The Fréchet distance of Gaussians in both implementations."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch

from vqbench.errors import RunError
from vqbench.metrics import _feature_distances
from vqbench.metrics._feature_distances import Moments, factored_distance, scipy_distance
from vqbench.networks.compat import ensure_torchvision
from vqbench.protocol import MEASURE


@pytest.mark.parametrize("distance", [scipy_distance, factored_distance])
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


def features_like_inceptions(count: int, seed: int, dim: int = 256) -> np.ndarray:
    """Positive features (count, dim) of few strong directions and many weak ones, as pool3 has."""
    draw = np.random.default_rng(seed)
    mix = draw.standard_normal((dim, dim)) / np.arange(1, dim + 1)[:, None]
    return np.abs(draw.standard_normal((count, dim)) @ mix + 0.1 * seed)


def moments_by_sums(features: np.ndarray) -> Moments:
    """As rFID has them."""
    exact = torch.from_numpy(features)
    return _feature_distances.moments_of_sums(torch.tensor(float(len(exact))), exact.sum(0), exact.T @ exact)


def of_torch_fidelity(first: Moments, second: Moments) -> float:
    ensure_torchvision()
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    sides = [{"mu": mean, "sigma": covariance} for mean, covariance in (first, second)]
    return float(fid_statistics_to_metric(*sides, verbose=False)[KEY_METRIC_FID])


def of_gram_matrix(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the distance by singular values of the features' products, without a covariance."""
    (mean1, centred1), (mean2, centred2) = ((each.mean(0), each - each.mean(0)) for each in (first, second))
    scale = np.sqrt((len(first) - 1) * (len(second) - 1))
    traces = sum((each**2).sum() / (len(each) - 1) for each in (centred1, centred2))
    root = np.linalg.svd(centred1 @ centred2.T, compute_uv=False).sum() / scale
    return float(((mean1 - mean2) ** 2).sum() + traces - 2 * root)


@pytest.mark.parametrize(
    ("counts", "near"), [((600, 500), 1e-9), ((257, 300), 1e-6), ((100, 90), 5e-6), ((2, 3), 5e-6)]
)
def test_the_distance_is_torch_fidelitys(counts: tuple[int, int], near: float) -> None:
    """Regular covariances give torch-fidelity's value; of singular ones it has roots of rounding errors, up to 5e-6."""
    first, second = (features_like_inceptions(count, seed) for seed, count in enumerate(counts, 1))
    sides = moments_by_sums(first), moments_by_sums(second)
    found = factored_distance(*sides[0], *sides[1])
    assert found == pytest.approx(of_torch_fidelity(*sides), rel=near)
    assert found == pytest.approx(of_gram_matrix(first, second), rel=1e-9)  # what both mean


def test_a_set_is_at_no_distance_from_itself() -> None:
    """Equal sets have distance 0 to rounding, where eigenvalues of the product leave more."""
    side = moments_by_sums(features_like_inceptions(40, 1))
    assert factored_distance(*side, *side) == pytest.approx(0, abs=1e-9)


def test_equal_images_have_no_covariance() -> None:
    """Of features that are all equal only the means have a distance."""
    still, moving = np.ones((5, 256)), features_like_inceptions(40, 1)
    found = factored_distance(*moments_by_sums(still), *moments_by_sums(moving))
    assert found == pytest.approx(((1 - moving.mean(0)) ** 2).sum() + moving.var(0, ddof=1).sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("resize", "name"), [(None, "factored_distance"), ("clean", "factored_distance"), (229, "scipy_distance")]
)
def test_only_the_released_code_takes_scipys_root(resize: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The implementation depends on the resize: that of CVQ-VAE's released code has its own."""
    monkeypatch.setattr(_feature_distances, name, lambda *moments: -1.0)
    side = moments_by_sums(features_like_inceptions(3, 1))
    protocol = replace(MEASURE["clean"], fid_resize=resize)
    assert _feature_distances.frechet_distance(protocol, side, side) == -1


def test_moments_of_sums_are_moments() -> None:
    """Moments by sums over batches, as of rFID, and by all features at once, as of FID, agree to rounding."""
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) + 3
    exact = features.double()
    sums = _feature_distances.moments_of_sums(torch.tensor(50.0).double(), exact.sum(0), exact.T @ exact)
    for one, other in zip(sums, _feature_distances.moments(features), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
