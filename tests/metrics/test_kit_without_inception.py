"""Metrics of decoded features pass the kit in features that cost nothing; in Inception's, among the slow tests."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.support.measured_batches import cheap_distance, cheap_features
from vqbench import registry
from vqbench.conformance.metrics import image_checks, sum_checks
from vqbench.conformance.metrics.case import MetricCase
from vqbench.conformance.outcome import Skip
from vqbench.metrics import ifid, rfid
from vqbench.networks import inception

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("protocol", ["clean", "official"])
@pytest.mark.parametrize("name", ["pfid", "ifid"])
def test_the_kit_passes(name: str, protocol: str, weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums, order, restarts, odd images and runs without codes: every check that needs one process."""
    monkeypatch.setattr(inception, "features", cheap_features)
    for module in (rfid, ifid):
        monkeypatch.setattr(module, "frechet_distance", cheap_distance)
    case = MetricCase(name, registry.load("metrics", name), protocol=protocol)
    for check in (*image_checks.CHECKS, *sum_checks.CHECKS):
        if check.run is not sum_checks.two_ranks_are_one:  # whose processes have Inception
            with suppress(Skip):
                check.run(case)
