"""L2-normalized VQ: only directions matter."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    feature_map,
    pass_through,
)
from vqbench.quantizers.l2norm_vq import L2NormVQ


def test_l2norm_vq_depends_on_directions_alone() -> None:
    """Codes are of the largest cosine, the decoder gets the unit code, and lengths of z and e change nothing."""
    quantizer = pass_through(L2NormVQ(NUM_CODES, DIM, code_dim=DIM))
    z = feature_map()
    out = quantizer(z)
    units, book = F.normalize(Q.flatten(z, DIM)), F.normalize(quantizer.codebook)
    chosen = book[(units @ book.T).argmax(1)]
    torch.testing.assert_close(Q.flatten(out.z_q, DIM), chosen)
    torch.testing.assert_close(out.loss, 1.25 * (units - chosen).square().mean())
    quantizer.codebook.data *= torch.rand(NUM_CODES, 1) + 0.5
    again = quantizer(3 * z)
    assert torch.equal(out.codes, again.codes)
    torch.testing.assert_close(out.loss, again.loss)
