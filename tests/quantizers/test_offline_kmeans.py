"""Offline k-means: the identity until its one fit."""

from __future__ import annotations

import torch

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    feature_map,
)
from vqbench.quantizers.offline_kmeans import OfflineKMeans


def test_offline_kmeans_is_the_identity_until_it_is_fitted() -> None:
    """Before ``fit_at`` z and its gradient pass; after it the code does, with no gradient; evaluation gives codes."""
    quantizer, z = OfflineKMeans(NUM_CODES, DIM, fit_at=0.5), feature_map()
    for progress in (0.0, 0.4999):
        quantizer.anneal(progress)
        out = quantizer(z)
        assert torch.equal(out.z_q, z)
        (gradient,) = torch.autograd.grad(out.z_q.sum(), z)
        assert torch.equal(gradient, torch.ones_like(z))
    quantizer.anneal(0.5)
    book = quantizer.codebook.clone()
    out = quantizer(z)
    assert out.loss == 0
    assert not torch.equal(book, quantizer.codebook)
    (gradient,) = torch.autograd.grad(out.z_q.sum(), z)
    assert gradient.abs().sum() == 0
    assert torch.equal(quantizer.eval().decode(quantizer(z).codes), quantizer(z).z_q)


def test_offline_kmeans_fits_once() -> None:
    """The first step from ``fit_at`` on starts from k-means on its batch, the next and a resumed one do not."""
    quantizer = OfflineKMeans(NUM_CODES, DIM, fit_at=0.5, threshold=0.0)
    quantizer(feature_map(seed=1))
    quantizer.anneal(0.7)
    torch.manual_seed(3)
    z = feature_map(batch=20, seed=2)
    out = quantizer(z)
    torch.manual_seed(3)
    fresh = Q.anchors("unique", Q.flatten(z, DIM), quantizer.codebook, "l2")
    centres, _ = Q.lloyd(Q.flatten(z.detach(), DIM), fresh, 50)
    torch.testing.assert_close(out.z_q, Q.look_up(out.codes, centres))
    resumed = OfflineKMeans(NUM_CODES, DIM, fit_at=0.5, threshold=0.0)
    resumed.load_state_dict(quantizer.state_dict())
    for again in (quantizer, resumed):
        before = again.codebook.clone()
        again.anneal(0.8)
        again(feature_map(seed=9) + 100)  # far features: a fit would jump there
        assert (again.codebook - before).norm(dim=1).median() < 10
