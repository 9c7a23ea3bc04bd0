"""CVQ: golden values of its first step, relocation, and the plain form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import vqbench.functional as Q
from tests.support.quantizing import (
    CODEBOOK,
    DIM,
    IMAGE,
    NUM_CODES,
    feature_map,
)
from tests.support.reference_cvq import ReferenceCVQ
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.vq import VQ


@pytest.mark.parametrize("contrastive", [False, True])
@pytest.mark.parametrize(("distance", "with_term"), [("l2", 0.017242158), ("cosine", 0.017278025)])
def test_cvq_first_step_on_the_toy(distance: Any, with_term: float, contrastive: bool) -> None:
    """Loss with and without the contrastive term, usage, and the codebook after the first relocation, to six digits."""
    quantizer = CVQ(4, 2, distance=distance, anchor="closest", contrastive=contrastive).double()
    quantizer.codebook.data.copy_(CODEBOOK)
    out = quantizer(IMAGE)
    assert out.codes.flatten().tolist() == [0, 1, 2, 0]
    assert out.loss.item() == pytest.approx(with_term if contrastive else 0.0171875, abs=5e-10)
    assert out.logs["perplexity"].item() == pytest.approx(2.828427, abs=1e-6)
    assert quantizer.usage.tolist() == pytest.approx([0.005, 0.0025, 0.0025, 0], abs=1e-12)
    moved = quantizer.codebook.detach()
    assert moved[3].tolist() == pytest.approx([0.402599, 0.202799], abs=1e-6)
    assert moved[0].tolist() == pytest.approx([0.5, 0.1], abs=5e-7)
    assert (moved[1:3] - CODEBOOK[1:3]).abs().amax(1).tolist() == pytest.approx([4.5e-6, 4.5e-6], rel=0.02)


def relocation(quantizer: CVQ, codes: Tensor) -> Tensor:
    """α (K,) of one relocation after ``codes`` were chosen: how far codes at 0 go towards anchors at 1."""
    quantizer.codebook.data.zero_()
    quantizer.relocate(torch.ones(len(codes), 1, dtype=torch.float64), codes)
    return quantizer.codebook.detach()[:, 0].clone()


@pytest.mark.parametrize(
    ("relative_usage", "alpha", "tolerance"),
    [
        (0, 0.9990, 5e-5),
        (1e-4, 0.904, 5e-4),
        (7e-4, 0.496, 5e-4),
        (1e-3, 0.368, 5e-4),
        (1e-2, 4.5e-5, 5e-7),
        (0.1, 0, 4e-44),
    ],
)
def test_relocation_strength(relative_usage: float, alpha: float, tolerance: float) -> None:
    """α at the published table's usages, relative to uniform, after the step's update of the usage."""
    quantizer = CVQ(512, 1, distance="l2", anchor="random", contrastive=False).double()
    quantizer.usage.fill_(relative_usage / 512 / 0.99)
    strength = relocation(quantizer, torch.zeros(8, dtype=torch.int64))
    assert strength[1:].tolist() == pytest.approx([alpha] * 511, abs=tolerance)


@pytest.mark.parametrize(("relative_usage", "steps"), [(1.0, 724), (0.1, 495), (0.01, 266)])
def test_revival_latency(relative_usage: float, steps: int) -> None:
    """The relocation rate α of a code that is no longer used exceeds 0.5 after this many steps."""
    quantizer = CVQ(2, 1, distance="l2", anchor="random", contrastive=False).double()
    quantizer.usage[1] = relative_usage / 2
    codes = torch.zeros(2, dtype=torch.int64)
    count = 1
    while relocation(quantizer, codes)[1] <= 0.5 and count < 2000:
        count += 1
    assert count == steps


def test_offline_relocates_exactly_once() -> None:
    """The first training step moves unused codes onto features; no later one, nor one after a reload, moves any."""
    quantizer, z = CVQ(NUM_CODES, DIM, **CVQ.presets["cvq_offline"]), feature_map()
    initial = quantizer.codebook.detach().clone()
    quantizer.eval()(z)
    assert torch.equal(quantizer.codebook, initial)
    quantizer.train()(z)
    first = quantizer.codebook.detach().clone()
    assert not torch.equal(first, initial)
    resumed = CVQ(NUM_CODES, DIM, **CVQ.presets["cvq_offline"])
    resumed.load_state_dict(quantizer.state_dict())
    for again in (quantizer, resumed):
        again(feature_map(seed=8))
        assert torch.equal(again.codebook, first)


def test_online_moves_unused_codes_to_the_new_features() -> None:
    """Online, a code that nothing chooses follows the latest batch: nearly the anchor itself, 0.999 of the way."""
    quantizer = CVQ(2, 2, distance="l2", contrastive=False)
    quantizer.codebook.data.copy_(torch.tensor([[1.0, 1.0], [500.0, 500.0]]))
    for value in (1.0, 2.0):
        quantizer.codebook.data[1] = 500.0
        quantizer(torch.full((1, 2, 2, 2), value))
        expected = 500 + torch.exp(torch.tensor(-1e-3)) * (value - 500)
        torch.testing.assert_close(quantizer.codebook[1].detach(), expected.expand(2), rtol=1e-4, atol=0)


def test_backward_sees_the_codebook_before_the_relocation() -> None:
    """Under cosine, the contrastive gradient equals that of the old codebook, although most codes were moved."""
    torch.manual_seed(5)
    quantizer, z = CVQ(NUM_CODES, DIM, contrastive=True), feature_map() + 1
    old = quantizer.codebook.detach().clone()
    quantizer(z).loss.backward()
    moved = (quantizer.codebook.detach() - old).norm(dim=1) > 0.1
    assert moved.sum() > NUM_CODES // 2
    still = VQ(NUM_CODES, DIM, distance="cosine")
    still.codebook.data.copy_(old)
    term = Q.contrastive_loss(Q.flatten(z.detach(), DIM), still.codebook, "cosine", 0.07)
    (still(z).loss + term).backward()
    torch.testing.assert_close(quantizer.codebook.grad, still.codebook.grad)


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("contrast", [True, False])
@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("anchor", ["closest", "given"])
def test_cvq_equals_the_plain_sorting_form(
    monkeypatch: pytest.MonkeyPatch, anchor: str, distance: Any, contrast: bool, online: bool
) -> None:
    """Over five Adam steps codebook, usage and loss are those of whole matrices, full sorts and autograd."""
    torch.manual_seed(0)
    given: list[Tensor] = []  # the draws, the same for both

    def pick(s: Tensor) -> Tensor:
        return s.sort(dim=0, stable=True).indices[-1] if anchor == "closest" else given[-1]

    if anchor == "given":
        monkeypatch.setattr(Q, "anchors", lambda rule, features, codebook, distance: features[given[-1]])
    quantizer = CVQ(NUM_CODES, DIM, distance=distance, anchor="closest", contrastive=contrast, online=online).double()
    reference = ReferenceCVQ(quantizer.codebook.detach(), distance, online, contrast, pick)
    adam = torch.optim.Adam(quantizer.parameters(), 0.02)
    reference_adam = torch.optim.Adam([reference.codebook], 0.02)
    for _ in range(5):
        z = torch.randn(5, DIM, 4, 5).double() * 0.3 + 0.5
        given.append(torch.randint(100, (NUM_CODES,)))
        loss = quantizer(z).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        expected = reference.step(Q.flatten(z, DIM), reference_adam)
        torch.testing.assert_close(loss.detach(), expected)
        torch.testing.assert_close(quantizer.usage, reference.usage, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(quantizer.codebook, reference.codebook, rtol=1e-6, atol=1e-7)


def test_an_offline_codebook_relocates_again_after_an_earlier_state_is_loaded() -> None:
    """Whether the one relocation is done is what the loaded state says, not what this object did before."""
    torch.manual_seed(0)
    quantizer = CVQ(8, 4, online=False, contrastive=False).train()
    fresh = {name: value.clone() for name, value in quantizer.state_dict().items()}
    z = torch.randn(2, 4, 5, 5)
    quantizer(z)
    moved = quantizer.codebook.detach().clone()
    quantizer(z)
    assert torch.equal(quantizer.codebook, moved), "offline relocates once"
    quantizer.load_state_dict(fresh)
    quantizer(z)
    assert not torch.equal(quantizer.codebook, fresh["codebook"])
