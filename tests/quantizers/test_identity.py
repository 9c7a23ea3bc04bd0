"""Identity: nothing is quantized."""

from __future__ import annotations

import pytest

from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    feature_map,
)
from vqbench.errors import UsageError
from vqbench.quantizers.identity import Identity


def test_identity_is_not_quantized() -> None:
    """Identity returns z as the same tensor, costs infinitely many bits and refuses to decode."""
    quantizer, z = Identity(NUM_CODES, DIM), feature_map()
    out = quantizer(z)
    assert out.z_q is z
    assert (quantizer.depth, quantizer.bits) == (0, float("inf"))
    with pytest.raises(UsageError, match="no codes to decode"):
        quantizer.decode(out.codes)
