"""The conditions under which our values are the printed quantities."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vqbench.planning import loading
from vqbench.reporting.paper.conditions import not_comparable


@pytest.mark.parametrize(("size", "reason"), [(256, ""), (128, "images of 128 pixels, not 256")])
def test_whole_systems_are_compared_at_the_printed_size(size: int, reason: str) -> None:
    """Values of photographs are compared with table B.2 only at its size, which the plan takes from the data set."""
    plan = loading.load("ffhq", [])
    assert plan.datasets["ffhq"].size == 256
    datasets = {"ffhq": replace(plan.datasets["ffhq"], size=size)}
    assert not_comparable(replace(plan, datasets=datasets), "clean") == reason


def test_whole_systems_have_a_protocol_of_their_own() -> None:
    """Under the protocol of the other tables, photographs are not comparable."""
    reason = not_comparable(loading.load("ffhq", []), "official")
    assert reason == "measured under official; the protocol of the printed values is not stated"
