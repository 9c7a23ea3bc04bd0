"""LooC: what its release computes from the same numbers, with and without interpolation, and its bits.

The expected numbers were printed by the release at commit 039114f1 (``quantizer_zoo/LoRC_VAE/quantise.py`` with cos,
closest, fixed), run in float64 with the features and codes given here in closed form: one training step, the sum of z_q
times wave(200) plus the loss, its gradients, and the codebook and usage after the step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.quantizing import DIM, feature_map, train_step, wave
from vqbench.errors import UsageError
from vqbench.quantizers.cvq_grouped import CVQGrouped
from vqbench.quantizers.looc import LooC

NUM_CODES, HEIGHT, WIDTH = 5, 2, 3

# By shuffle_scale: channels and units, then what was printed.
RELEASED: dict[int, tuple[int, int, dict[str, list[float]]]] = {
    0: (
        4,
        2,
        {
            "codes": [1, 4, 4, 0, 0, 3, 3, 1, 1, 2, 2, 0],
            "z_q": [
                *(0.75564023, -0.0813191, -0.89792768, 0.33331394, 0.75564023, -0.56317553, -0.74688755, 0.99885805),
                *(0.55216738, -0.97790301, -0.74688755, 0.89201168, -0.0813191, -0.89792768, 0.33331394, 0.75564023),
                *(-0.56317553, -0.89792768, 0.99885805, 0.55216738, -0.97790301, -0.74688755, 0.89201168, 0.55216738),
            ],
            "loss": [0.05964333],
            "at the features": [
                *(0.65522792, 0.66591775, -0.8234267, -0.4541591, 0.94163342, 0.21224265, -0.99348495, 0.03870044),
                *(0.98220655, -0.29520514, -0.89682887, 0.53210715, 0.77217624, -0.73052865, -0.5843564, 0.88228578),
                *(0.35773318, -0.96848194, -0.11242223, 0.99929286, -0.14848542, -0.95172324, 0.39953311, 0.84803584),
            ],
            "at the codes": [
                *(-0.00565076, 0.0574988, -0.03354203, -0.09823791, 0.01326341, -0.01678082, -0.01554532, -0.00706182),
                *(0.01679496, 0.03043553),
            ],
            "codebook": [
                *(-0.89792796, 0.5521673, 0.7556411, -0.74688707, -0.56318092, 0.89203416, 0.33332012, -0.97788663),
                *(-0.08132566, 0.9988039),
            ],
            "usage": [0.0025, 0.0025, 0.00166667, 0.00166667, 0.00166667],
        },
    ),
    2: (
        2,
        2,
        {
            "codes": [4, 2, 0, 4, 0, 4, 4, 2, 0, 3, 0, 4],
            "z_q": [
                *(0.03000566, -0.08425191, -0.08425191, 0.03000566, -0.08425191, -0.08425191, -0.05300549, 0.03000566),
                *(0.03000566, -0.05300549, -0.01322746, 0.03000566),
            ],
            "loss": [0.97953133],
            "at the features": [
                *(0.56064713, 0.50722388, -0.54624786, -0.1366215, 0.66642001, 0.17224759, -0.82484426, -0.04724761),
                *(0.81714091, -0.4562566, -0.55862482, 0.44893097),
            ],
            "at the codes": [
                *(-0.12550252, 0.17090868, 0.12719431, -0.06795352, 0.0, 0.0, 0.0, 0.0, 0.05546172, 0.11989396),
                *(0.0547166, -0.03218704, 0.02347471, 0.02313581, -0.01197395, -0.03409214, 0.03327682, -0.03818548),
                *(-0.31645557, -0.18778143),
            ],
            "codebook": [
                *(-0.89792765, 0.55216731, 0.75564016, -0.74688755, -0.61808218, -0.24767213, -0.70291546, -0.37678517),
                *(-0.08133358, 0.99868772, -0.17611789, -0.95322316, 0.41305225, 0.83619763, -0.63502238, -0.66733969),
                *(0.81470506, 0.47007192, -0.93583742, -0.22891692),
            ],
            "usage": [0.00333333, 0.0, 0.00166667, 0.00083333, 0.00416667],
        },
    ),
}


def image(channels: int, start: int) -> Tensor:
    """Numbers in closed form as one image (1, channels, HEIGHT, WIDTH), channel by channel."""
    return wave(channels, HEIGHT * WIDTH, start).view(1, channels, HEIGHT, WIDTH)


@pytest.mark.parametrize("shuffle_scale", RELEASED)
def test_equal_to_the_released_code(shuffle_scale: int) -> None:
    """Everything about a training step, with two unused codes relocated, to the eight decimals that were printed."""
    channels, units, released = RELEASED[shuffle_scale]
    quantizer = LooC(512, channels, units=units, unit_codes=NUM_CODES, shuffle_scale=shuffle_scale).double()
    inner = quantizer.grouped.chunks
    inner.codebook.data.copy_(wave(NUM_CODES, inner.dim, 40))
    z = image(channels, 1).requires_grad_()
    out = quantizer(z)
    ((out.z_q * image(channels, 200)).sum() + out.loss).backward()
    results: dict[str, Any] = {
        "codes": out.codes,
        "z_q": out.z_q.detach(),
        "loss": out.loss.detach(),
        "at the features": z.grad,
        "at the codes": inner.codebook.grad,
        "codebook": inner.codebook.detach(),
        "usage": inner.usage,
    }
    for part, expected in released.items():
        assert results[part].flatten().tolist() == pytest.approx(expected, abs=6e-9), part


def bilinear(z: np.ndarray, scale: int) -> np.ndarray:
    """Interpolate (H, W) to (scale·H, scale·W): cell centres at half-integers, the border repeated."""
    for axis in (0, 1):
        size = z.shape[axis]
        places = np.clip((np.arange(size * scale) + 0.5) / scale - 0.5, 0, size - 1)
        below = np.floor(places).astype(int)
        above, share = np.minimum(below + 1, size - 1), places - below
        share = share[:, None] if axis == 0 else share
        z = (1 - share) * z.take(below, axis) + share * z.take(above, axis)
    return z


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_interpolation_is_its_formula(scale: int) -> None:
    """NumPy: bilinear weights by loops over axes; channel c·r² + i·r + j holds value (i, j) of each cell of channel c.

    The average undoes the rearrangement.
    """
    quantizer = LooC(512, 2, units=2, shuffle_scale=scale).double()
    z = image(2, 1)
    finer = np.stack([bilinear(channel.numpy(), scale) for channel in z[0]])
    expected = [finer[c, i::scale, j::scale] for c in range(2) for i in range(scale) for j in range(scale)]
    np.testing.assert_allclose(quantizer.interpolate(z)[0], np.stack(expected), atol=1e-12)
    cells = finer.reshape(2, HEIGHT, scale, WIDTH, scale).mean((2, 4))
    np.testing.assert_allclose(quantizer.average(quantizer.interpolate(z))[0], cells, atol=1e-12)


def test_without_interpolation_it_is_grouped_cvq_without_contrast() -> None:
    """The same codes, loss and codebook, bit for bit, over three steps."""
    torch.manual_seed(0)
    ours = LooC(64, DIM, units=3)
    torch.manual_seed(0)
    other = CVQGrouped(64, DIM, groups=3, anchor="closest", contrastive=False)
    for seed in range(3):
        losses = [train_step(quantizer, feature_map(seed=seed), seed) for quantizer in (ours, other)]
        assert losses[0] == losses[1]
    assert torch.equal(ours.grouped.chunks.codebook, other.chunks.codebook)


def test_the_released_rate_and_an_equal_one() -> None:
    """The released setting is 12,544 bits per image of 7 x 7 positions; three of its units of 4 make 9 bits."""
    released = LooC(256, 128, units=32, unit_codes=256)
    assert (released.bits * 49, released.grouped.chunks.dim) == (12544, 4)
    equal = LooC(512, 12, units=3)
    assert (equal.bits, equal.num_codes, equal.grouped.chunks.dim) == (9, 8, 4)
    assert LooC(512, 12, units=3, shuffle_scale=2).bits == 9


@pytest.mark.parametrize("shuffle_scale", [0, 2])
def test_codes_alone_give_the_output(shuffle_scale: int) -> None:
    """In evaluation z_q is decode(codes) bit for bit, so the bits of the codes are all that is transmitted."""
    quantizer = LooC(512, DIM, units=3, shuffle_scale=shuffle_scale).eval()
    out = quantizer(feature_map())
    assert out.codes.shape == (5, 4, 5, 3)
    assert torch.equal(out.z_q, quantizer.decode(out.codes))


def test_units_that_do_not_fit_raise() -> None:
    """Units of unequal width, and an anchor that LooC does not have, raise UsageError."""
    with pytest.raises(UsageError, match="6 channels do not divide into 4 units"):
        LooC(512, DIM, units=4)
    assert LooC(512, DIM, units=4, shuffle_scale=2).grouped.chunks.dim == 6
    with pytest.raises(UsageError, match="unknown anchor 'unique'"):
        LooC(512, DIM, anchor="unique")  # type: ignore[arg-type]
