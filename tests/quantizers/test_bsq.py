"""BSQ: the loss over all codes, and the sum in its commitment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import vqbench.functional as Q
from tests.support.quantizing import (
    all_signs,
    as_map,
    pass_through,
)
from vqbench.quantizers.bsq import BSQ


def test_bsq_loss_by_brute_force() -> None:
    """On the sphere: the nearest corner, and entropies from a softmax of 2τ⟨u, c⟩ over all corners, divided by τ."""
    quantizer = pass_through(BSQ(16, 4, entropy=0.2, diversity=0.7, commitment=0.3, inverse_temperature=3.0)).double()
    y = torch.randn(9, 4).double()
    out = quantizer(as_map(y))
    u, codes = F.normalize(y), all_signs(4).double() / 2
    p = (2 * 3 * u @ codes.T).softmax(1)
    entropies = -(p * p.log()).sum(1).mean() + 0.7 * (p.mean(0) * p.mean(0).log()).sum()
    nearest = torch.cdist(u, codes).argmin(1)
    torch.testing.assert_close(out.loss, 0.2 * entropies / 3 + 0.3 * (u - codes[nearest]).square().sum(1).mean())
    assert torch.equal(out.codes.flatten(), nearest)
    torch.testing.assert_close(Q.flatten(out.z_q, 4), codes[nearest])


def test_the_commitment_of_bsq_is_a_sum_over_channels() -> None:
    """As in the release: the squared distance of a feature to its corner, and no L-th part of it."""
    torch.manual_seed(0)
    plain, z = BSQ(512, 64), torch.randn(2, 64, 4, 4)
    committed = BSQ(512, 64, commitment=0.5)
    committed.load_state_dict(plain.state_dict())
    u = nn.functional.normalize(plain.project_in(z.permute(0, 2, 3, 1).reshape(-1, 64)), dim=1)  # type: ignore[operator]
    distance = (u - u.sign() / 3).square().sum(1).mean()  # of 9 channels
    torch.testing.assert_close(committed(z).loss - plain(z).loss, 0.5 * distance)
