"""Wasserstein VQ: what its release computes from the same numbers, and the distance by another formula.

The expected numbers were printed by ``Wasserstein_Quantizer`` of VQ-Research/Wasserstein-VQ 777e3106 (VQVAE) with the
weights of its scripts, run in float64 with a queue of 8 and the features, codes and queue given here in closed form.
The gradients are those of its loss plus the sum of z_q times wave(200).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vqbench.functional as Q
from tests.support.quantizing import as_map, wave
from vqbench.errors import UsageError
from vqbench.quantizers.wasserstein_vq import WassersteinVQ

COUNT, DIM, NUM_CODES, QUEUE = 4, 3, 6, 8

RELEASED: list[dict[str, list[float]]] = [  # of two steps with the same codes
    {
        "loss": [0.34047778],
        "W": [0.63356142],
        "z_q": [
            *(0.99885805, -0.17607562, -0.95348530, 0.42177828, 0.84479768, -0.63947334),
            *(-0.68001244, 0.81470506, 0.47007192, -0.74688755, -0.56317553, 0.89201168),
        ],
        "at the features": [
            *(0.65019085, 0.66822295, -0.82238455, -0.45630351, 0.93996894, 0.21408386),
            *(-0.99513599, 0.04235173, 0.98422242, -0.29912417, -0.90238194, 0.53165806),
        ],
        "at the codes": [
            *(-0.09386174, 0.02387609, 0.08770913, -0.04026004, -0.19344543, 0.09010879),
            *(-0.00995735, -0.17656223, 0.05545550, 0.02332561, -0.05444609, -0.00929545),
            *(-0.03172930, 0.07447660, 0.01253750, -0.09366918, 0.05211392, 0.08024000),
        ],
    },
    {
        "loss": [0.32534701],
        "W": [0.49295332],
        "z_q": [
            *(0.33331394, -0.97790301, -0.08131910, 0.99885805, -0.17607562, -0.95348530),
            *(0.42177828, 0.84479768, -0.63947334, -0.68001244, 0.81470506, 0.47007192),
        ],
        "at the features": [
            *(0.64429819, 0.66938315, -0.81679086, -0.45890514, 0.93504566, 0.21795417),
            *(-0.99121005, 0.03746974, 0.98155451, -0.29040553, -0.90672020, 0.52405734),
        ],
        "at the codes": [
            *(-0.08861048, -0.01249788, 0.09183105, -0.08200349, -0.02884519, 0.08943658),
            *(-0.00142465, -0.04106425, 0.01200645, -0.03873475, 0.02011358, 0.03355170),
            *(-0.11602672, 0.02287060, 0.11013322, -0.13714592, -0.03622305, 0.14648020),
        ],
    },
]


def built() -> WassersteinVQ:
    """The quantizer in float64 with codes and a queue in closed form."""
    quantizer = WassersteinVQ(NUM_CODES, DIM, queue=QUEUE).double()
    quantizer.codebook.data.copy_(wave(NUM_CODES, DIM, 40))
    quantizer.queue.copy_(wave(QUEUE, DIM, 300) / 2)
    return quantizer


def test_equal_to_the_released_code() -> None:
    """Values, loss and both gradients of two steps, to the eight decimals that the release printed."""
    quantizer = built()
    for step, released in enumerate(RELEASED):
        quantizer.zero_grad()
        z = as_map(wave(COUNT, DIM, 1 + 60 * step)).requires_grad_()
        out = quantizer(z)
        (out.loss + (out.z_q * as_map(wave(COUNT, DIM, 200))).sum()).backward()
        results: dict[str, Any] = {
            "loss": out.loss,
            "W": out.logs["wasserstein"],
            "z_q": Q.flatten(out.z_q, DIM),
            "at the features": Q.flatten(z.grad, DIM),  # type: ignore[arg-type]
            "at the codes": quantizer.codebook.grad,
        }
        for part, expected in released.items():
            assert results[part].flatten().tolist() == pytest.approx(expected, abs=6e-9), (step, part)


def test_the_distance_is_that_of_two_gaussians() -> None:
    """NumPy: W² by tr (ΣS)^½ as the sum of the roots of ΣS's eigenvalues, without its symmetric form or floors."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(DIM, DIM))
    codes, queue = rng.normal(size=(64, DIM)) @ mixing + 1, 3 * rng.normal(size=(500, DIM))
    quantizer = WassersteinVQ(64, DIM, queue=500).double()
    quantizer.codebook.data.copy_(torch.from_numpy(codes))
    quantizer.queue.copy_(torch.from_numpy(queue))
    scale = queue.std(0, ddof=1).max()
    own, other = (np.cov(rows.T / scale) for rows in (codes, queue))
    roots = np.sqrt(np.linalg.eigvals(other @ own).real)
    gap = np.square(codes.mean(0) - queue.mean(0)).sum() / scale**2
    expected = np.sqrt(gap + np.trace(own) + np.trace(other) - 2 * roots.sum())
    assert quantizer.distance().item() == pytest.approx(expected, abs=1e-6)


def test_codes_with_the_moments_of_the_queue_have_no_distance() -> None:
    """Codes that are the queue: W is 0, but for the floors of 1e-8 and 1e-10."""
    quantizer = WassersteinVQ(40, DIM, queue=40).double()
    quantizer.queue.copy_(torch.randn(40, DIM, generator=torch.Generator().manual_seed(1)))
    quantizer.codebook.data.copy_(quantizer.queue)
    assert quantizer.distance().item() < 2e-4


def test_the_distance_has_no_gradient_for_features() -> None:
    """Without the two squared terms nothing of the loss reaches z; the codes still learn."""
    quantizer = WassersteinVQ(NUM_CODES, DIM, queue=QUEUE, alpha=0.0, beta=0.0)
    z = torch.randn(2, DIM, 2, 2, requires_grad=True)
    quantizer(z).loss.backward()
    assert not z.grad.any()  # type: ignore[union-attr]
    assert quantizer.codebook.grad.abs().sum() > 0  # type: ignore[union-attr]


def queued(quantizer: WassersteinVQ, rows: Tensor) -> list[float]:
    """The first channel of the queue, oldest place first, after a training step with ``rows`` (N, DIM)."""
    quantizer(as_map(rows.float()))
    return quantizer.queue[:, 0].tolist()


def test_the_queue_keeps_the_last_features() -> None:
    """Three batches of 3 in a queue of 5 go around; one of 7 leaves its last 5, and evaluation changes nothing."""
    quantizer = WassersteinVQ(NUM_CODES, DIM, queue=5)
    quantizer.queue.fill_(-1.0)
    rows = torch.arange(100.0)[:, None].expand(100, DIM)
    assert queued(quantizer, rows[0:3]) == [0, 1, 2, -1, -1]
    assert queued(quantizer, rows[3:6]) == [5, 1, 2, 3, 4]
    assert queued(quantizer, rows[6:9]) == [5, 6, 7, 8, 4]
    quantizer.eval()
    assert queued(quantizer, rows[9:12]) == [5, 6, 7, 8, 4]
    quantizer.train()
    assert sorted(queued(quantizer, rows[20:27])) == [22, 23, 24, 25, 26]
    assert int(quantizer.oldest) == 4  # from place 4 on, five features end there again
    assert queued(quantizer, rows[30:31])[4] == 30


def test_codes_follow_the_features() -> None:
    """Adam at the codes' rate moves codes from N(0, 0.01²) onto features of mean 3 and deviation 2 in 300 steps."""
    torch.manual_seed(0)
    quantizer = WassersteinVQ(128, 4, queue=1024)
    [rate] = quantizer.learning_rates().values()
    optimizer = torch.optim.Adam([quantizer.codebook], lr=rate)
    for step in range(300):
        z = 3 + 2 * torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        out = quantizer(z)
        out.loss.backward()
        optimizer.step()
    assert out.logs["wasserstein"] < 0.4
    assert out.logs["usage"] > 0.6  # of 256 features, which leave some of 128 equally likely codes out
    assert quantizer.codebook.mean().item() == pytest.approx(3, abs=0.3)


def test_the_rate_of_its_own_can_be_left_out() -> None:
    """The codes learn at 0.02, or with codebook_rate None at the recipe's rate."""
    assert WassersteinVQ(8, DIM, queue=8).learning_rates() == {"codebook": 0.02}
    assert WassersteinVQ(8, DIM, queue=8, codebook_rate=None).learning_rates() == {}


def test_a_queue_of_one_feature_is_refused() -> None:
    """It has no covariance: UsageError says so."""
    with pytest.raises(UsageError, match="at least 2 features, not 1"):
        WassersteinVQ(8, DIM, queue=1)
