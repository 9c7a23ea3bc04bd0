"""OptVQ: what its release computes from the same numbers, and the transport plan written with whole matrices.

The expected numbers were printed by ``VectorQuantizerSinkhorn`` of zbr17/OptVQ b71895cc with the arguments of its
configurations, run in float64 with the features and weights given here in closed form; the release's own conversion to
float32 was left out. The gradients are those of its loss plus the sum of z_q times wave(200).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vqbench.functional as Q
from tests.support.quantizing import as_map, feature_map, wave
from vqbench.errors import UsageError
from vqbench.quantizers.optvq import OptVQ

COUNT, DIM, NUM_CODES = 6, 4, 5

RELEASED: dict[int, dict[str, list[float]]] = {  # by the number of heads
    1: {
        "codes": [0, 4, 4, 3, 2, 1],
        "loss": [2.52952496],
        "z_q": [
            *(1.02695020, 1.31472286, 2.25456978, 2.55075088, -1.70365032, -2.18530194, -1.10065527, 0.21672722),
            *(-1.70365032, -2.18530194, -1.10065527, 0.21672722, -1.43070757, -1.39747141, -0.00372223, 1.33623834),
            *(-0.75765940, -0.37485632, 1.10134758, 2.23511309, 0.13969063, 0.61543112, 1.92590437, 2.67856086),
        ],
        "at the features": [
            *(0.64737029, 0.53869204, -1.08787776, -0.62889555, 1.14925223, 0.33887615, -0.95595740, 0.09514700),
            *(1.16047718, -0.19355697, -0.82998020, 0.59511718, 0.88291794, -0.69351693, -0.55466103, 0.84162965),
            *(0.37253631, -1.00147329, -0.13505866, 0.85760459, -0.23735346, -1.03698630, 0.31922467, 0.63886925),
        ],
        "at the points": [
            *(-0.12156225, 0.06768482, 0.10412061, -0.09451556, -0.08882151, 0.04498678, 0.07722891, -0.06488782),
            *(-0.03315639, 0.03530456, 0.02405879, -0.04150425, 0.03160041, 0.01851040, -0.03637034, -0.00913816),
            *(0.17813883, 0.00949928, -0.18058669, 0.03703592),
        ],
        "at the weight": [
            *(-0.10241649, -0.05201469, 0.11582010, 0.02216912, -0.09037757, 0.00830798, 0.08823670, -0.03104561),
            *(-0.09861308, 0.04045564, 0.08818811, -0.06318074, -0.09249274, 0.10226364, 0.06614052, -0.11930732),
        ],
        "at the bias": [-0.10441622, -0.00627362, 0.05524486, 0.11316668],
    },
    2: {
        "codes": [3, 1, 3, 1, 0, 1, 2, 1, 4, 1, 4, 3],
        "loss": [0.37075377],
        "z_q": [
            *(0.33202511, -0.45414128, -0.11859693, -0.00330606, 0.33202511, -0.45414128, -0.11859693, -0.00330606),
            *(0.53163644, -1.17719178, -0.11859693, -0.00330606, 0.09521210, -0.77778474, -0.11859693, -0.00330606),
            *(-0.33968470, -0.30545843, -0.11859693, -0.00330606, -0.33968470, -0.30545843, 0.33202511, -0.45414128),
        ],
        "at the features": [
            *(0.70528071, 0.68609739, -0.89011387, -0.41605747, 0.97961261, 0.19461277, -1.03779559, 0.11348310),
            *(0.97420328, -0.27756615, -0.91181839, 0.61345329, 0.75575796, -0.74515748, -0.54508814, 0.95325835),
            *(0.33770509, -1.00725645, -0.03339662, 1.04413952, -0.19740551, -0.96024550, 0.45204794, 0.89992777),
        ],
        "at the points": [
            *(-0.00636068, -0.00262728, -0.07193363, -0.02077885, 0.00036466),
            *(-0.00106259, 0.02071891, 0.01624308, -0.00553122, -0.00629061),
        ],
        "at the weight": [-0.01916603, 0.05908102, -0.06152100, 0.07760559],
        "at the bias": [-0.01369620, -0.07990251],
    },
}


def built(heads: int = 1) -> OptVQ:
    """The quantizer in float64 with weights in closed form."""
    quantizer, width = OptVQ(NUM_CODES, DIM, heads=heads).double(), DIM // heads
    quantizer.points.data.copy_(wave(NUM_CODES, width, 40))
    quantizer.projection.weight.data.copy_(wave(width, width, 80))
    quantizer.projection.bias.data.copy_(wave(1, width, 120)[0] / 2)
    return quantizer


def plan(features: Tensor, codes: Tensor, epsilon: float, iterations: int) -> np.ndarray:
    """NumPy: the plan (N, K) as one matrix, whose rows and columns are scaled in turn."""
    distances = np.linalg.norm(features.numpy()[:, None] - codes.numpy(), axis=-1)
    cost = (distances - distances.mean()) / (distances.std(ddof=1) + 1e-6)
    masses = np.exp(-epsilon * (cost - cost.min()))
    masses /= masses.sum() + 1e-8
    for _ in range(iterations):
        masses /= (masses.sum(0, keepdims=True) + 1e-8) * masses.shape[1]
        masses /= (masses.sum(1, keepdims=True) + 1e-8) * masses.shape[0]
    return masses


@pytest.mark.parametrize("heads", RELEASED)
def test_equal_to_the_released_code(heads: int) -> None:
    """Values, codes, loss and all gradients of a training step, to the eight decimals that the release printed."""
    quantizer, z = built(heads), as_map(wave(COUNT, DIM, 1)).requires_grad_()
    out = quantizer(z)
    (out.loss + (out.z_q * as_map(wave(COUNT, DIM, 200))).sum()).backward()
    results: dict[str, Any] = {
        "codes": out.codes,
        "loss": out.loss,
        "z_q": Q.flatten(out.z_q, DIM),
        "at the features": Q.flatten(z.grad, DIM),  # type: ignore[arg-type]
        "at the points": quantizer.points.grad,
        "at the weight": quantizer.projection.weight.grad,
        "at the bias": quantizer.projection.bias.grad,
    }
    for part, expected in RELEASED[heads].items():
        assert results[part].flatten().tolist() == pytest.approx(expected, abs=6e-9), part


@pytest.mark.parametrize(("epsilon", "iterations", "heads"), [(10.0, 5, 1), (2.0, 1, 1), (30.0, 20, 1), (10.0, 5, 2)])
def test_codes_are_the_largest_masses_of_the_plan(epsilon: float, iterations: int, heads: int) -> None:
    """NumPy's plan, on normal features: the same code for each of 320, most of them not the nearest."""
    torch.manual_seed(0)
    quantizer = OptVQ(32, 8, epsilon=epsilon, iterations=iterations, heads=heads).double()
    z = torch.randn(16, 8, 5, 4, generator=torch.Generator().manual_seed(1)).double()
    features, codes = Q.flatten(z, 8).reshape(-1, 8 // heads), quantizer.codebook.detach()
    expected = plan(features, codes, epsilon, iterations)
    assert quantizer(z).codes.flatten().tolist() == expected.argmax(1).tolist()
    assert (Q.assign(features, codes) != quantizer(z).codes.flatten()).double().mean() > 0.1


def test_without_iterations_codes_are_the_nearest() -> None:
    """The plan before its first scaling is largest at the nearest code."""
    torch.manual_seed(0)
    quantizer, z = OptVQ(24, 6, iterations=0), feature_map()
    assert torch.equal(quantizer(z).codes.flatten(), Q.assign(Q.flatten(z, 6), quantizer.codebook))


def test_a_batch_uses_codes_about_equally() -> None:
    """On normal features, far from all codes, the nearest codes are few and OptVQ's are almost all."""
    torch.manual_seed(0)
    quantizer, z = OptVQ(64, 8), torch.randn(16, 8, 8, 8, generator=torch.Generator().manual_seed(1)) + 4
    nearest = Q.assign(Q.flatten(z, 8), quantizer.codebook)
    used, logs = len(nearest.unique()), quantizer(z).logs
    assert used < 20
    assert logs["usage"] > 0.9
    assert logs["perplexity"] > 50


def test_evaluation_depends_on_the_batch_as_training_does() -> None:
    """In evaluation an image has the codes of training in the same batch, others alone, and the class declares it."""
    torch.manual_seed(0)
    quantizer, z = OptVQ(24, 6), feature_map()
    trained = quantizer.train()(z).codes
    assert torch.equal(quantizer.eval()(z).codes, trained)
    assert (quantizer(z[:1]).codes != trained[:1]).any()
    assert OptVQ.batch_dependent


def test_far_features_and_codes_give_finite_results() -> None:
    """A feature, and a code, so far away that all masses at them underflow in float32: finite, after 50 iterations."""
    torch.manual_seed(0)
    quantizer, z = OptVQ(24, 6, epsilon=200.0, iterations=50), feature_map().detach()
    z[0, :, 0, 0] = 1e4
    quantizer.points.data[0] = -1e4
    out = quantizer(z)
    assert out.z_q.isfinite().all()
    assert out.loss.isfinite()
    far = (quantizer.codebook - z[0, :, 0, 0]).norm(dim=1)
    assert far[out.codes[0, 0, 0, 0]] < 1.1 * far.min()


def test_impossible_arguments_raise() -> None:
    """Heads that do not divide the channels, and a negative temperature, raise UsageError."""
    with pytest.raises(UsageError, match="3 does not divide 8"):
        OptVQ(16, 8, heads=3)
    with pytest.raises(UsageError, match="epsilon must not be negative"):
        OptVQ(16, 8, epsilon=-1.0)
    with pytest.raises(UsageError, match="iterations must not be negative"):
        OptVQ(16, 8, iterations=-1)
