"""VQ: golden values, both distances, and the side that beta weighs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.quantizing import (
    CODEBOOK,
    DIM,
    IMAGE,
    NUM_CODES,
    feature_map,
)
from vqbench.errors import UsageError
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.vq import VQ


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_vq_on_the_toy(distance: Any) -> None:
    """Codes 0, 1, 2, 0, loss 0.0171875 and perplexity 2.828427, the same under both distances."""
    quantizer = VQ(4, 2, distance=distance).double()
    quantizer.codebook.data.copy_(CODEBOOK)
    out = quantizer(IMAGE)
    assert out.codes.flatten().tolist() == [0, 1, 2, 0]
    assert out.loss.item() == pytest.approx(0.0171875, abs=1e-12)
    assert out.logs["perplexity"].item() == pytest.approx(2.828427, abs=1e-6)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_ties_go_to_the_lowest_index(distance: Any) -> None:
    """Of equal codes the first is chosen by VQ, for all features."""
    quantizer = VQ(8, DIM, distance=distance)
    quantizer.codebook.data[:] = torch.ones(DIM)
    assert (quantizer(feature_map()).codes == 0).all()


def test_cosine_hands_on_the_code_as_it_is() -> None:
    """Under cosine, scaling the codebook leaves the assignment and scales what the decoder gets."""
    quantizer, z = VQ(NUM_CODES, DIM, distance="cosine"), feature_map()
    small = quantizer(z)
    quantizer.codebook.data *= 4
    large = quantizer(z)
    assert torch.equal(small.codes, large.codes)
    torch.testing.assert_close(large.z_q, 4 * small.z_q)


@pytest.mark.parametrize(("beta_on", "on_z", "on_code"), [("commitment", 0.25, 1.0), ("codebook", 1.0, 0.25)])
def test_beta_weighs_the_term_it_names(beta_on: Any, on_z: float, on_code: float) -> None:
    """β falls on the encoder's or the codebook's gradient as ``beta_on`` says; the loss's value is the same."""
    quantizer = VQ(1, 2, beta_on=beta_on)
    quantizer.codebook.data.zero_()
    z = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).requires_grad_()
    loss = quantizer(z).loss
    loss.backward()
    assert loss.item() == pytest.approx(1.25 * 12.5)
    assert z.grad is not None
    assert z.grad.flatten().tolist() == pytest.approx([3 * on_z, 4 * on_z])
    assert quantizer.codebook.grad is not None
    assert quantizer.codebook.grad.flatten().tolist() == pytest.approx([-3 * on_code, -4 * on_code])


def test_bad_input_is_one_clear_sentence() -> None:
    """Wrong shapes and unknown names raise UsageError with the expected ones."""
    with pytest.raises(UsageError, match=r"needs features \(B, 6, H, W\), not \(2, 5, 3, 3\)"):
        VQ(4, 6)(torch.zeros(2, 5, 3, 3))
    with pytest.raises(UsageError, match=r"codes must be \(B, H, W, 1\)"):
        VQ(4, 6).decode(torch.zeros(2, 3, 3, dtype=torch.int64))
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        VQ(4, 6, distance="cosin")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown anchor 'none'"):
        CVQ(4, 6, anchor="none")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1"):
        VQ(0, 6)
