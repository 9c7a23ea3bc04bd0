"""VQ-EMA with restarts: k-means at the start, averages, restarts."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import vqbench.functional as Q
from vqbench.quantizers.vq_ema_restart import VQEMARestart


def test_restart_starts_by_kmeans_and_then_averages() -> None:
    """The first step's codebook is Lloyd's from drawn features, and the averages then follow γh + (1 − γ)v from it."""
    quantizer = VQEMARestart(3, 2, threshold=0.0).double()
    z = torch.randn(2, 2, 3, 3).double()
    torch.manual_seed(5)
    out = quantizer(z)
    torch.manual_seed(5)
    fresh = Q.anchors("unique", Q.flatten(z, 2), quantizer.codebook, "l2")
    centres, counts = Q.lloyd(Q.flatten(z, 2), fresh, 10)
    torch.testing.assert_close(out.z_q, Q.look_up(out.codes, centres))
    one_hot = F.one_hot(out.codes.flatten(), 3).double()
    n = 0.99 * counts.clamp(min=1) + 0.01 * one_hot.sum(0)
    m = 0.99 * counts.clamp(min=1)[:, None] * centres + 0.01 * one_hot.T @ Q.flatten(z, 2)
    torch.testing.assert_close(quantizer.codebook, m / ((n + 1e-5) / (n.sum() + 3e-5) * n.sum())[:, None])


def test_restart_puts_starved_codes_onto_features_for_good() -> None:
    """A code far away becomes a feature of the batch, and the next step's average does not take it back."""
    quantizer = VQEMARestart(4, 2, threshold=1.0)
    quantizer.started.fill_(True)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [5.0, 5.0], [900.0, 900.0], [-900.0, 0.0]]))
    quantizer.average_counts.copy_(torch.tensor([20.0, 20.0, 0.5, 20.0]))
    quantizer.average_sums.copy_(quantizer.codebook * quantizer.average_counts[:, None])
    z = torch.randn(1, 2, 6, 6) + 1
    quantizer(z)
    moved = quantizer.codebook[2].clone()
    assert torch.cdist(moved[None], Q.flatten(z, 2)).min() < 1e-3
    assert quantizer.average_counts[2] == 1
    torch.testing.assert_close(quantizer.codebook[3], torch.tensor([-900.0, 0.0]), rtol=1e-3, atol=0)
    assert quantizer(z).codes.eq(2).any()
    assert (quantizer.codebook[2] - moved).norm() < 2


def test_restart_with_no_threshold_never_moves_an_unused_code() -> None:
    """At threshold 0 a code that nothing chooses stays where it was put, however long."""
    quantizer = VQEMARestart(2, 2, threshold=0.0)
    quantizer.started.fill_(True)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [900.0, 900.0]]))
    quantizer.average_sums.copy_(quantizer.codebook)
    for _ in range(50):
        quantizer(torch.randn(1, 2, 6, 6))
    torch.testing.assert_close(quantizer.codebook[1], torch.full((2,), 900.0), rtol=1e-3, atol=0)
