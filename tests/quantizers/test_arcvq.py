"""ArcVQ: what its release computes from the same numbers, its formula in NumPy, its bound, its memory.

The expected numbers were printed by the release at commit 0c9cbe3c (``quantise.py``, and ``clip_codebook_norms`` and
``ArcLoss`` of ``modules.py``), run in float64 with the features and codes given here in closed form: the bound at step
t, then the sum of z_q times wave(200) plus the loss, and its gradients.
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
from vqbench.functional import chunked
from vqbench.functional import codes as functional_codes
from vqbench.quantizers.arcvq import ArcVQ, among_nearest, angular_loss

COUNT, DIM, NUM_CODES = 7, 3, 5
FEATURES, CODES = wave(COUNT, DIM, 1), wave(NUM_CODES, DIM, 40)

RELEASED: dict[int, dict[str, list[float]]] = {
    0: {
        "codebook": [
            *(-0.69232234, 0.42573341, 0.58261552, -0.57783914, -0.43570798, 0.69011629, 0.32162535, -0.94361009),
            *(-0.07846742, 0.71753521, -0.1264849, -0.68494145, 0.36985202, 0.74079237, -0.56074606),
        ],
        "codes": [3, 4, 0, 1, 2, 3, 4],
        "loss": [0.12455221],
        "at the features": [
            *(0.65680169, 0.66241275, -0.82749816, -0.42418029, 0.90506882, 0.19095402, -0.99006389, 0.05774555),
            *(0.9751835, -0.30386354, -0.90640276, 0.53743355, 0.75967403, -0.72841856, -0.57196859, 0.88461194),
            *(0.35151455, -0.97519337, -0.09748424, 0.99333802, -0.15848803),
        ],
        "at the codes": [
            *(-0.00706526, -0.0412789, 0.01770238, 0.03652937, -0.02730561, -0.02949301, 0.04097733, 0.00268461),
            *(-0.04166912, -0.04151119, 0.05601987, 0.02707548, -0.05026068, 0.01466809, 0.04648088),
        ],
    },
    400: {
        "codebook": [
            *(-0.78059125, 0.48001308, 0.65689717, -0.65151181, -0.49125937, 0.77810394, 0.33331394, -0.97790301),
            *(-0.0813191, 0.80901869, -0.14261132, -0.77226933, 0.41700699, 0.83524106, -0.63223942),
        ],
        "codes": [3, 4, 0, 1, 2, 3, 4],
        "loss": [0.10738407],
        "at the features": [
            *(0.65463003, 0.663533, -0.82561517, -0.43080821, 0.90953527, 0.19643098, -0.98874842, 0.05539909),
            *(0.97447269, -0.30225767, -0.90436513, 0.5353026, 0.75990818, -0.72782725, -0.57235511, 0.88224326),
            *(0.35112892, -0.97272531, -0.0987217, 0.99134212, -0.15673625),
        ],
        "at the codes": [
            *(-0.01547182, -0.0361094, 0.02477682, 0.02951292, -0.03259622, -0.02111323, 0.04209053, -0.00058139),
            *(-0.04194071, -0.02408576, 0.05294817, 0.0104416, -0.04127879, 0.03265832, 0.0328631),
        ],
    },
}


def built(steps: int = 0) -> ArcVQ:
    """The quantizer with CODES, at training step ``steps``."""
    quantizer = ArcVQ(NUM_CODES, DIM).double()
    quantizer.codebook.data.copy_(CODES)
    quantizer.steps.fill_(steps)
    return quantizer


@pytest.mark.parametrize("steps", RELEASED)
def test_equal_to_the_released_code(steps: int) -> None:
    """Bounded codes, assignment, loss and both gradients of a step, to the eight decimals that the release printed."""
    quantizer, z = built(steps), as_map(FEATURES).requires_grad_()
    out = quantizer(z)
    ((out.z_q * as_map(wave(COUNT, DIM, 200))).sum() + out.loss).backward()
    results = {
        "codebook": quantizer.codebook.detach(),
        "codes": out.codes,
        "loss": out.loss.detach(),
        "at the features": Q.flatten(z.grad, DIM),  # type: ignore[arg-type]
        "at the codes": quantizer.codebook.grad,
    }
    for part, expected in RELEASED[steps].items():
        assert results[part].flatten().tolist() == pytest.approx(expected, abs=6e-9), part  # type: ignore[union-attr]
    assert torch.equal(out.z_q.detach(), quantizer.decode(out.codes))
    assert quantizer.steps == steps + 1


def numpy_loss(features: Tensor, codes: Tensor, scale: float, margin: float, positives: int) -> float:
    """The angular loss by loops over codes, from the angles themselves."""
    z, e = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (features, codes))
    losses = []
    for code in e:
        angles = np.arccos(np.clip(z @ code, -1, 1))
        nearest, others = np.split(np.sort(angles), [positives])
        attracted = np.exp(scale * np.cos(nearest + margin)).sum()
        losses.append(-np.log(attracted / (attracted + np.exp(scale * np.cos(others)).sum())))
    return float(np.mean(losses))


@pytest.mark.parametrize(("scale", "margin", "positives"), [(5.0, 0.1, 3), (10.0, 0.1, 3), (2.0, 0.4, 1)])
def test_angular_loss_is_its_formula(scale: float, margin: float, positives: int) -> None:
    """NumPy: one softmax a code over all features, the margin added to the angles of the nearest ones."""
    features, codes = wave(40, 6, 3), wave(9, 6, 500)
    loss = angular_loss(features, codes, scale, margin, positives)
    assert loss.item() == pytest.approx(numpy_loss(features, codes, scale, margin, positives), rel=1e-12)


def test_the_angular_term_moves_features_alone() -> None:
    """Its gradient reaches z, and not the codebook."""
    z, codes = wave(20, DIM, 1).requires_grad_(), CODES.clone().requires_grad_()
    angular_loss(z, codes, 5.0, 0.1, 3).backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    assert codes.grad is None


def test_a_part_of_the_codes_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradient do not depend on how many codes are weighed at once, nor on what backward computes again."""
    ends = []
    for kept, block in ((chunked.KEPT, functional_codes.BLOCK), (1, 4 * 40 * 2)):
        monkeypatch.setattr(chunked, "KEPT", kept)
        monkeypatch.setattr(functional_codes, "BLOCK", block)  # two codes at a time
        z = wave(40, 6, 3).requires_grad_()
        loss = angular_loss(z, wave(9, 6, 500), 5.0, 0.1, 3)
        loss.backward()
        ends.append((loss.detach(), z.grad))
    torch.testing.assert_close(*ends)


def test_evaluation_has_neither_bound_nor_angular_term() -> None:
    """In evaluation a long code stays, the loss is vq's, and t does not move."""
    quantizer = built().eval()
    quantizer.codebook.data.mul_(3)
    before = quantizer.codebook.detach().clone()
    out = quantizer(as_map(FEATURES))
    assert torch.equal(quantizer.codebook, before)
    torch.testing.assert_close(out.loss, 1.25 * (out.z_q - as_map(FEATURES)).square().mean())
    assert quantizer.steps == 0


def test_the_ball_grows_and_short_codes_stay() -> None:
    """At step t no code is longer than exp(radius_growth·t); shorter ones, also one of length 0, keep their values."""
    for steps, radius in ((0, 1.0), (1000, np.exp(0.3))):
        quantizer = built(steps)
        quantizer.codebook.data[0] *= 10
        quantizer.codebook.data[1] *= 0.01
        quantizer.codebook.data[2] = 0
        short = quantizer.codebook.detach()[1:3].clone()
        quantizer(as_map(FEATURES))
        assert quantizer.codebook[0].norm().item() == pytest.approx(radius, rel=1e-12)
        assert torch.equal(quantizer.codebook[1:3], short)


def test_the_angular_term_fades() -> None:
    """Its weight falls as exp(-arc_decay·t); ``arc_weight`` 0 leaves vq's loss."""
    plain = ArcVQ(NUM_CODES, DIM, arc_weight=0.0, radius_growth=0.0).double()
    quantizer = ArcVQ(NUM_CODES, DIM, radius_growth=0.0).double()
    quantizer.load_state_dict(plain.state_dict())
    angular = angular_loss(FEATURES, quantizer.codebook, 5.0, 0.1, 3).item()
    vq = plain(as_map(FEATURES)).loss.item()
    for steps in (0, 2000):
        quantizer.steps.fill_(steps)
        assert quantizer(as_map(FEATURES)).loss.item() == pytest.approx(vq + np.exp(-5e-4 * steps) * angular)


def test_fewer_features_than_positives_train() -> None:
    """Two features, of which both are positive for every code, leave no other: the term is 0 and finite."""
    assert angular_loss(FEATURES[:2], CODES, 5.0, 0.1, 3).item() == pytest.approx(0, abs=1e-12)
    assert train_step(built(), as_map(FEATURES[:2]).requires_grad_(), seed=0).isfinite()


@pytest.mark.parametrize("own", [1, 5])
def test_positives_are_those_of_the_global_batch(own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all ranks' features, exactly three per code are marked, those of the largest cosines, ties or not.

    The expected cosines follow from a sort of all. Ranks with one feature each have fewer than three.
    """
    cosines = (10 * wave(4, 3 * own, 7)).round() / 10  # (K, N) with ties
    parts = [part.topk(min(3, own), dim=1) for part in cosines.split(own, 1)]
    expected = cosines.sort(dim=1, descending=True).values[:, :3]
    positions = [part.indices + own * rank for rank, part in enumerate(parts)]
    monkeypatch.setattr(Q, "world_size", lambda: 3, raising=False)
    marked = []
    for rank, part in enumerate(parts):
        gathered = iter([[each.values for each in parts], positions])

        def all_gather(padded: Tensor, gathered: Any = gathered) -> Tensor:
            width = padded.shape[2]
            fill = padded[0, :, -1:]  # where a rank has fewer than three, its padding
            return torch.stack([torch.cat([e, fill.expand(-1, width - e.shape[1])], 1) for e in next(gathered)])

        monkeypatch.setattr(Q, "all_gather", all_gather, raising=False)
        monkeypatch.setattr(Q, "shard", lambda n, rank=rank: (rank * own, 3 * own), raising=False)
        marked.append(among_nearest(part.values, part.indices, 3, own))
    values = torch.cat([part.values for part in parts], 1).masked_fill(~torch.cat(marked, 1), -2)
    assert torch.equal(values.sort(dim=1, descending=True).values[:, :3], expected)
    assert torch.cat(marked, 1).sum(1).tolist() == [3] * 4


def test_a_scale_that_underflows_raises() -> None:
    """A scale whose exponentials leave float32 raises UsageError."""
    with pytest.raises(UsageError, match="at most 40, not 50"):
        ArcVQ(NUM_CODES, DIM, scale=50.0)
