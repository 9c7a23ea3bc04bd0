"""What a record says of the size and rate of a trained model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vqbench.backbone import Autoencoder
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.training.model_building import build, kept_buffers, learned_state, rate, size

MNIST: Any = SimpleNamespace(channels=1, size=28)
K, DIM = 512, 64


@pytest.fixture(scope="module")
def plan() -> Plan:
    return loading.load("modern_quick", [])


def model(plan: Plan, label: str) -> Autoencoder:
    return build(next(entry.run for entry in plan.entries if entry.label == label), MNIST)


@pytest.mark.parametrize(
    ("label", "learned"),
    [
        ("VQ-VAE", 0),
        ("VQ-VAE EMA", 2 * K * DIM + K + 1),  # codes, averaged sums and counts, and how many updates there were
        ("SimVQ", 0),  # its frozen codebook is kept, and learns nothing
        ("FSQ 8x8x8", 0),
    ],
)
def test_buffers_that_training_changes_are_learned_state(plan: Plan, label: str, learned: int) -> None:
    """A codebook that is an average counts as much as one that is trained; what is kept and never changes does not."""
    trained = model(plan, label)
    before = kept_buffers(trained)
    assert learned_state(trained, before) == size(trained)
    trained.train()
    for _ in range(2):
        trained(torch.rand(4, 1, 28, 28))
    assert learned_state(trained, before) - size(trained) == learned


def test_bits_and_codes_are_known_without_measuring(plan: Plan) -> None:
    """Positions times bits per position, and the size of one codebook of several; a continuous model has neither."""
    cpu = torch.device("cpu")
    assert rate(model(plan, "VQ-VAE"), MNIST, cpu) == {"bits": 49 * 9.0, "codes": K}
    grouped = rate(model(plan, "grouped 2 x 23"), MNIST, cpu)
    assert grouped == {"bits": pytest.approx(443.309, abs=1e-3), "codes": 23}
    assert rate(model(plan, "identity"), MNIST, cpu) == {}
