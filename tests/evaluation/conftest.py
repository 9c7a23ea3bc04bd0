"""Fixtures of the tests of evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional as F

from vqbench.evaluation import contact_sheets, samples
from vqbench.networks import feature_cache, inception


@pytest.fixture
def fours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of four images, so that ten are three pieces."""
    for module in (samples, contact_sheets):
        monkeypatch.setattr(module, "TOGETHER", 4)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of Inception's features, the levels of images of 3x8x8; how many were shown to the network at once."""
    shown: list[int] = []

    def features(_: Any, images: Tensor, resize: int | None) -> Tensor:
        shown.append(len(images))
        return F.pad(images.flatten(1), (0, 2048 - 192))

    monkeypatch.setattr(inception, "network", lambda device: None)
    monkeypatch.setattr(inception, "features", features)
    monkeypatch.setattr(feature_cache, "features_path", lambda *_: tmp_path / "features.npy")
    return shown
