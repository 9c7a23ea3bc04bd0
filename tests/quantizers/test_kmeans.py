"""k-means: the tabulated codebooks of the Gaussian, its start, and its one fit."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import erf, exp, pi, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from vqbench import registry
from vqbench.quantizers.kmeans import KMeans, plus_plus

MAX = {2: 0.3634, 3: 0.1902, 4: 0.1175, 5: 0.07994, 6: 0.05798, 7: 0.04400, 8: 0.03454, 16: 0.009497}


def density(x: float) -> float:
    return exp(-x * x / 2) / sqrt(2 * pi)


def below(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2


@cache
def max_lloyd(levels: int) -> float:
    """Return the mean squared error of the best codebook of N(0, 1), by Lloyd's conditions.

    Each level is the mean of its cell, (φ(a) − φ(b)) / (Φ(b) − Φ(a)), and each border the middle of two levels; the
    error is 1 − Σ P(cell)·level². Nothing of vqbench is used.
    """
    codes = np.linspace(-2, 2, levels)
    for _ in range(20_000):
        borders = [-40.0, *((codes[1:] + codes[:-1]) / 2), 40.0]
        cells = list(pairwise(borders))
        moved = np.array([(density(a) - density(b)) / (below(b) - below(a)) for a, b in cells])
        if np.abs(moved - codes).max() < 1e-9:
            break
        codes = moved
    return 1 - sum((below(b) - below(a)) * code**2 for (a, b), code in zip(cells, codes, strict=True))


def fitted(features: Tensor, num_codes: int, **args: object) -> KMeans:
    """Fit to ``features`` (N, D) in one step."""
    torch.manual_seed(0)
    quantizer = KMeans(num_codes, features.shape[1], **args).train()  # type: ignore[arg-type]
    with torch.no_grad():
        quantizer(features[:, :, None, None])
    return quantizer.eval()


def error(quantizer: KMeans, features: Tensor) -> float:
    with torch.no_grad():
        z_q = quantizer(features[:, :, None, None]).z_q.flatten(1)
    return float((features.double() - z_q.double()).square().sum(1).mean())


@pytest.mark.parametrize("levels", MAX)
def test_the_tabulated_errors_are_those_of_lloyd_s_conditions(levels: int) -> None:
    """J. Max's table of 1960 has the errors that the conditions give here, to its four digits."""
    assert max_lloyd(levels) == pytest.approx(MAX[levels], rel=2e-3)


@pytest.mark.parametrize("levels", range(2, 17))
def test_in_one_dimension_it_reaches_the_best_codebook(levels: int) -> None:
    """Fitted to quantiles of the Gaussian, it has the error of the best codebook within 1 % on drawn features."""
    quantiles = (torch.arange(2**14, dtype=torch.float64) + 0.5) / 2**14
    train = torch.special.ndtri(quantiles)[:, None].float()
    test = torch.from_numpy(np.random.default_rng(1).standard_normal((2**19, 1), dtype=np.float32))
    quantizer = fitted(train, levels, iterations=1000)
    assert error(quantizer, test) == pytest.approx(max_lloyd(levels), rel=0.01)


def test_it_fits_once_and_random_codes_are_features() -> None:
    """The codebook stays after the first step; the preset's codes are features, each another one."""
    first, second = torch.randn(2, 200, 3, generator=torch.Generator().manual_seed(0)).unbind(0)
    quantizer = fitted(first, 8)
    kept = quantizer.codebook.clone()
    with torch.no_grad():
        quantizer.train()(second[:, :, None, None])
    assert torch.equal(quantizer.codebook, kept)
    _, _, args = registry.find("quantizers", "random_codebook")
    drawn = fitted(first, 8, **args).codebook
    assert len({tuple(code) for code in drawn.tolist()} & {tuple(row) for row in first.tolist()}) == 8


def test_plus_plus_spreads_codes_over_clusters() -> None:
    """Of four far clusters, one code starts in each, as uniform draws of features would do one time in ten."""
    centres = 100.0 * torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    features = centres.repeat(50, 1) + torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        torch.manual_seed(seed)
        start = plus_plus(features, 4)
        assert len({int(torch.cdist(code[None], centres).argmin()) for code in start}) == 4


def test_equal_features_and_too_few_give_no_nan() -> None:
    """With fewer distinct features than codes, codes repeat and the error is zero."""
    features = torch.tensor([[1.0], [2.0]]).repeat(5, 1)
    assert error(fitted(features, 4), features) == 0
