"""NSVQ, DiVeQ and SF-DiVeQ: what their releases compute from the same numbers.

The expected numbers were printed by the packages nsvq 0.1.0 and diveq 0.1.3, run in float64 with the features, codes
and noise given here in closed form; the noise replaced ``Normal.sample``, times its deviation, and for SF-DiVeQ
``torch.rand``. The gradients are those of the sum of z_q times wave(200).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vqbench.functional as Q
from tests.support.quantizing import as_map, train_step, wave
from vqbench.errors import UsageError
from vqbench.quantizers.diveq import DiVeQ
from vqbench.quantizers.nsvq import NSVQ
from vqbench.quantizers.sf_diveq import SFDiVeQ

COUNT, DIM, NUM_CODES = 4, 3, 5
FEATURES, CODES = wave(COUNT, DIM, 1), wave(NUM_CODES, DIM, 40)
NOISE = [1.5 * wave(COUNT, DIM, 90), 1.5 * wave(COUNT, DIM, 120)]
DITHER = (wave(NUM_CODES - 1, 1, 300) + 1) / 2

RELEASED: dict[str, dict[str, list[float]]] = {
    "nsvq": {
        "z_q": [
            *(1.04686904, -0.30280016, -0.96884077, 0.56061976, 0.83039262, -0.77460279),
            *(-0.70563432, 1.39863139, 0.34522241, -1.30407779, -0.02714323, 1.31107230),
        ],
        "codes": [3, 4, 0, 1],
        "at the features": [
            *(0.61030956, 0.22764465, -0.66897108, -0.56566890, 1.00998717, 0.30540632),
            *(-0.94153330, 0.10155675, 0.91536325, -0.44101726, -0.62841430, 0.60295270),
        ],
        "at the codes": [
            *(-0.05463394, -0.05994597, 0.07008136, 0.14546825, -0.28087058, -0.07309100, 0, 0, 0),
            *(0.04000118, 0.44190272, -0.15387464, 0.10815981, -0.06924639, -0.09031578),
        ],
    },
    "diveq": {
        "z_q": [
            *(1.05002279, -0.29199780, -0.97477818, 0.55508809, 0.84361196, -0.77247760),
            *(-1.00963141, 1.01759884, 0.74740740, -1.20051341, -0.42439923, 1.30987642),
        ],
        "codes": [3, 4, 0, 1],
        "at the features": [
            *(0.59601905, 0.06977390, -0.61399902, -0.46447606, 0.94520119, 0.22090812),
            *(-0.30708445, 0.79769267, 0.10152783, -0.74988075, -0.03205966, 0.75814217),
        ],
        "at the codes": [
            *(-0.68908280, -0.75608189, 0.88391678, 0.45433174, -0.87722522, -0.22828046, 0, 0, 0),
            *(0.05429169, 0.59977347, -0.20884671, 0.00696697, -0.00446041, -0.00581757),
        ],
    },
    "sf_diveq": {
        "z_q": [
            *(0.71535534, 0.14443904, -0.75257569, 0.93597057, 0.42646680, -1.04586637),
            *(-0.49481997, -0.52304267, 0.62960231, -1.27472945, -0.21057419, 1.32899210),
        ],
        "codes": [3, 3, 0, 0],
        "at the features": [
            *(0.59007649, 0.39095522, -0.69082135, -0.41443564, 0.60671364, 0.25809222),
            *(-0.95240426, 0.09081068, 0.92900335, -0.62189947, -0.23584872, 0.68267509),
        ],
        "at the codes": [
            *(-0.04698197, -0.08476075, 0.06882388, 0.32956945, -0.63787531, -0.16519600, 0, 0, 0),
            *(-0.20702398, 0.79461523, 0.00226039, 0.22418478, -0.18199593, -0.17728643),
        ],
    },
}


def built(name: str) -> Any:
    """The quantizer with CODES, and noise of deviation 0.3 where it has an argument for it."""
    quantizer: Any = {
        "nsvq": lambda: NSVQ(NUM_CODES, DIM),
        "diveq": lambda: DiVeQ(NUM_CODES, DIM, noise=0.3),
        "sf_diveq": lambda: SFDiVeQ(NUM_CODES, DIM, noise=0.3, skip_steps=1, average_steps=0),
    }[name]()
    quantizer = quantizer.double()
    quantizer.codebook.data.copy_(CODES)
    return quantizer


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace random numbers by those given in closed form."""
    noise = iter(NOISE)
    monkeypatch.setattr(Q, "feature_normal", lambda *shape, device: next(noise), raising=False)
    monkeypatch.setattr(Q, "shared_uniform", lambda *shape, device: DITHER, raising=False)


@pytest.mark.parametrize("name", RELEASED)
def test_equal_to_the_released_code(name: str, fed: None) -> None:
    """Values, codes and both gradients of a training step, to the eight decimals that the packages printed."""
    quantizer, z = built(name), as_map(FEATURES).requires_grad_()
    if name != "sf_diveq":
        quantizer.replace_every = 0  # its draws are replaced too
    out = quantizer(z)
    (out.z_q * as_map(wave(COUNT, DIM, 200))).sum().backward()
    results = {
        "z_q": Q.flatten(out.z_q, DIM),
        "codes": out.codes,
        "at the features": Q.flatten(z.grad, DIM),  # type: ignore[arg-type]
        "at the codes": quantizer.codebook.grad,
    }
    for part, expected in RELEASED[name].items():
        assert results[part].flatten().tolist() == pytest.approx(expected, abs=6e-9), part
    assert out.loss == 0


@pytest.mark.parametrize("name", ["nsvq", "diveq"])
def test_substituted_error_is_its_formula(name: str, fed: None) -> None:
    """NumPy: z + |c - z| v/|v| with v the noise, for DiVeQ c - z plus 0.3 times the noise."""
    quantizer = built(name)
    quantizer.replace_every = 0
    z, c, n = FEATURES.numpy(), CODES.numpy(), NOISE[0].numpy()
    error = c[((z[:, None] - c) ** 2).sum(-1).argmin(1)] - z
    v = n if name == "nsvq" else error + 0.3 * n
    length = np.linalg.norm(error, axis=1, keepdims=True)
    expected = z + length * v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(Q.flatten(quantizer(as_map(FEATURES)).z_q, DIM).detach(), expected, atol=1e-12)


@pytest.mark.parametrize("name", RELEASED)
def test_evaluation_is_the_nearest_code(name: str) -> None:
    """In evaluation z_q is the code, bit for bit; the released SF-DiVeQ returns a point between codes there."""
    quantizer = built(name).eval()
    out = quantizer(as_map(FEATURES))
    assert out.codes.flatten().tolist() == [3, 4, 0, 1]
    assert torch.equal(Q.flatten(out.z_q, DIM), CODES[[3, 4, 0, 1]])


@pytest.mark.parametrize(("cls", "apart"), [(NSVQ, 2**0.5), (DiVeQ, 0.0)])
def test_distance_from_the_code_in_training(cls: type[NSVQ], apart: float) -> None:
    """NSVQ ends √2 error lengths from the code on average over squares; DiVeQ at it, within noise·√(D − 1)."""
    quantizer, z = cls(16, 64), torch.randn(8, 64, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    out = quantizer(z)
    code = quantizer.decode(out.codes)
    gap, length = ((a - code).square().sum(1).mean().sqrt().item() for a in (out.z_q.detach(), z))
    if apart:
        assert gap / length == pytest.approx(apart, rel=0.02)
    else:
        assert gap == pytest.approx(1e-3 * 63**0.5, rel=0.05)


def occurring(quantizer: NSVQ, steps: int) -> list[list[int]]:
    """Which of CODES (of 6) each code equals after each training step, for the features of the release's run."""
    start = wave(6, DIM, 40)
    quantizer.codebook.data.copy_(start)
    ends = []
    for step in range(steps):
        quantizer(as_map(wave(3, DIM, 11 * step)))
        ends.append(torch.cdist(quantizer.codebook.detach(), start).argmin(1).tolist())
    return ends


def test_rare_codes_move_onto_others() -> None:
    """Every fourth step, codes that occurred in less than half of the steps become codes that occurred in more.

    nsvq 0.1.0 counts 3, 3, 0, 0, 2, 1 steps after three; after the fourth, codes 2 and 3 are the rare ones.
    """
    quantizer = NSVQ(6, DIM, replace_every=4, discard=0.5, perturbation=0.0).double()
    torch.manual_seed(0)
    ends = occurring(quantizer, 3)
    assert ends == [[0, 1, 2, 3, 4, 5]] * 3
    assert quantizer.occurrences.tolist() == [3, 3, 0, 0, 2, 1]
    sources = []
    for seed in range(300):
        quantizer = NSVQ(6, DIM, replace_every=4, discard=0.5, perturbation=0.0).double()
        torch.manual_seed(seed)
        end = occurring(quantizer, 4)[-1]
        assert [end[kept] for kept in (0, 1, 4, 5)] == [0, 1, 4, 5]
        assert quantizer.occurrences.tolist() == [0] * 6
        sources += [end[2], end[3]]
    shares = np.bincount(sources, minlength=6) / len(sources)
    assert shares[[2, 3]].tolist() == [0, 0]
    assert (shares[[0, 1, 4, 5]] > 0.1).all()
    assert shares[0] > shares[5]  # it occurred twice as often


def test_a_code_counts_once_a_step() -> None:
    """However many features of a step have it: the packages count steps, not features."""
    quantizer = NSVQ(6, DIM)
    for count in (1, 2):
        quantizer(torch.zeros(2, DIM, 3, 3))
        assert sorted(quantizer.occurrences.tolist()) == [0] * 5 + [count]


def test_nothing_is_replaced_without_a_source_or_when_turned_off() -> None:
    """With every code rare (two features never share one here), or with replace_every 0, the codebook stays."""
    rare, off = NSVQ(6, DIM, replace_every=2, discard=1.0), NSVQ(6, DIM, replace_every=0)
    start = torch.stack([torch.zeros(DIM), *torch.full((5, DIM), 9.0)])
    for quantizer in (rare, off):
        quantizer.codebook.data.copy_(start)
        for value in (0.0, 9.0):
            quantizer(torch.full((1, DIM, 1, 1), value))
        assert torch.equal(quantizer.codebook, start)
    assert rare.steps == 2
    assert off.steps == 0


def test_replaced_codes_are_not_quite_equal() -> None:
    """The perturbation moves a replaced code by that much from its source."""
    quantizer = NSVQ(6, DIM, replace_every=1, discard=1.0, perturbation=0.01)
    torch.manual_seed(0)
    quantizer(torch.zeros(1, DIM, 1, 1))  # one code occurs, the other five are rare
    apart = torch.cdist(quantizer.codebook.detach(), quantizer.codebook.detach())[0]
    assert ((apart > 0).sum().item(), apart.max().item() < 0.1) == (5, True)


def passed_on(quantizer: SFDiVeQ, steps: int) -> Tensor:
    """The codebook after some steps of six features each, of which z_q and codes are checked."""
    for step in range(steps):
        z = as_map(wave(6, DIM, 7 * step))
        out = quantizer(z)
        assert torch.equal(out.z_q, z)
        assert not out.codes.any()
    return quantizer.codebook.detach()


def test_sf_diveq_starts_at_the_means_of_runs() -> None:
    """With skip_iters 5 and avg_iters 3, diveq 0.1.3 passes four steps on, then has these codes.

    They are the means of runs of three of the 18 features of steps 2 to 4.
    """
    quantizer = SFDiVeQ(NUM_CODES, DIM, skip_steps=5, average_steps=3).double()
    start = quantizer.codebook.detach().clone()
    assert torch.equal(passed_on(quantizer, 3), start)
    quantizer(as_map(wave(6, DIM, 21)))
    expected = [
        *(-0.56272373, -0.08721189, 0.58519728, 0.45264312, 0.30968188, -0.53244473, -0.34278437, -0.42632303),
        *(0.45264312, 0.12642134, 0.55045047, -0.26826637, 0.02381852, -0.58302785, 0.12642134),
    ]
    assert quantizer.codebook.flatten().tolist() == pytest.approx(expected, abs=6e-9)
    kept = torch.cat([wave(6, DIM, 7 * step) for step in (1, 2, 3)])[:15].view(5, 3, DIM).mean(1)
    torch.testing.assert_close(quantizer.codebook.detach(), kept)
    before = quantizer.codebook.detach().clone()
    assert not torch.equal(quantizer(as_map(wave(6, DIM, 28))).z_q, as_map(wave(6, DIM, 28)))
    assert torch.equal(quantizer.codebook, before)  # the start happens once


def test_sf_diveq_outputs_lie_near_the_curve() -> None:
    """Without noise z_q differs from the drawn point of its segment by less than the two ends are apart."""
    quantizer = SFDiVeQ(16, DIM, noise=1e-9, skip_steps=0, average_steps=0)
    quantizer.codebook.data.copy_(torch.randn(16, DIM, generator=torch.Generator().manual_seed(2)))
    z = torch.randn(8, DIM, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    out = quantizer(z)
    assert int(out.codes.max()) <= 14
    torch.manual_seed(0)
    weight = torch.rand(15, 1)
    points = torch.lerp(quantizer.codebook[:-1], quantizer.codebook[1:], weight).detach()
    nearest = torch.cdist(Q.flatten(z, DIM), points).argmin(1)
    assert torch.equal(out.codes.flatten(), nearest)
    torch.testing.assert_close(Q.flatten(out.z_q, DIM).detach(), points[nearest], rtol=1e-4, atol=1e-4)


def test_few_features_leave_codes_where_they_start() -> None:
    """With fewer kept features than codes, the codes without a run stay, and nothing is NaN."""
    quantizer = SFDiVeQ(8, DIM, skip_steps=2, average_steps=1)
    before = quantizer.codebook.detach().clone()
    quantizer(torch.ones(1, DIM, 1, 3))
    assert torch.equal(quantizer.codebook[3:], before[3:])
    assert (quantizer.codebook[:3] == 1).all()
    assert train_step(quantizer, torch.ones(1, DIM, 1, 3), seed=0).isfinite()


def test_impossible_arguments_raise() -> None:
    """A curve of one code, noise of 0 and an average over more steps than are skipped raise UsageError."""
    with pytest.raises(UsageError, match="at least 2 codes, not 1"):
        SFDiVeQ(1, DIM)
    with pytest.raises(UsageError, match="at most skip_steps"):
        SFDiVeQ(8, DIM, skip_steps=3, average_steps=4)
    with pytest.raises(UsageError, match="noise must be positive"):
        DiVeQ(8, DIM, noise=0.0)
