"""Usage counts the codes of the whole split, for each depth by itself."""

from __future__ import annotations

import pytest
import torch

from tests.support.measured_batches import (
    coded,
    context,
    metric,
)
from vqbench.errors import RunError


def test_usage_of_known_counts() -> None:
    """Frequencies 1/2, 1/4, 1/4, 0 of four codes: 75 % are used, whatever the batches."""
    for cuts in ([4], [1, 2, 1], [2, 2]):
        usage = metric("usage", context(num_codes=4, depth=1))
        for piece in torch.tensor([0, 1, 0, 2]).split(cuts):
            usage.update(coded([[[[int(code)]]] for code in piece]))
        assert usage.compute() == 75


def test_usage_is_a_mean_over_depths() -> None:
    """One depth on a single code, the other on all four: shares of 25 % and 100 %."""
    usage = metric("usage", context(num_codes=4))
    usage.update(coded([[[[0, code]]] for code in range(4)]))
    assert usage.state["counts"].tolist() == [[4, 0, 0, 0], [1, 1, 1, 1]]
    assert usage.compute() == 62.5


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_outside_the_codebook_are_refused(code: int) -> None:
    """A code below 0 or at K would be counted for another code or enlarge the codebook: an error."""
    with pytest.raises(RunError, match="the codebook has 4 codes"):
        metric("usage", context(num_codes=4, depth=1)).update(coded([[[[0]]], [[[code]]]]))
