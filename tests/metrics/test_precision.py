"""Precision and recall of samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.measured_samples import (
    NOTHING,
    metric,
    of_features,
)
from vqbench.metric import Samples
from vqbench.metrics.coverage import Coverage
from vqbench.metrics.density import Density
from vqbench.metrics.precision import Precision
from vqbench.metrics.recall import Recall


def test_precision_does_not_rise_with_the_references() -> None:
    """A sample of the references' own distribution lies in three of their balls on average, of 100 as of 1,600, and the
    share that lies in any is the same."""
    torch.manual_seed(0)
    found = []
    for count in (100, 400, 1600):
        made, real = torch.randn(1000, 16), torch.randn(count, 16)
        radii = torch.cdist(real, real).sort(1).values[:, 3]
        assert float((torch.cdist(made, real) <= radii).double().sum(1).mean()) == pytest.approx(3, rel=0.1)
        found.append(metric(Precision).measure(of_features(made, real)))
    assert found == pytest.approx([0.79] * 3, abs=0.04)


@pytest.mark.parametrize(("module", "pair"), [("density", (Density, Coverage)), ("precision", (Precision, Recall))])
def test_a_pair_is_computed_once(module: str, pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two metrics of one computation share it for the same samples, and not for others."""
    calls: list[Samples] = []

    def counted(samples: Samples, *_: object) -> tuple[float, float]:
        calls.append(samples)
        return 1.0, 2.0

    for name in ("vqbench.metrics." + module, pair[1].__module__):
        monkeypatch.setattr(f"{name}.of_samples", counted)
    one, two = of_features(NOTHING, NOTHING), of_features(NOTHING, NOTHING)
    assert [metric(cls).measure(one) for cls in pair] == [1.0, 2.0]
    assert len(calls) == 1
    assert metric(pair[0]).measure(two) == 1.0
    assert len(calls) == 2
