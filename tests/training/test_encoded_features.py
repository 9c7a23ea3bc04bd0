"""Features of a frozen encoder: kept on disk by digest, used for this encoder and these images alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.ranks import Few
from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.quantizers.vq import VQ
from vqbench.recipe import Task
from vqbench.training import encoded_features
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.encoded_features import PIECE, encoded
from vqbench.training.engine import Engine


class CountingConv(Conv):
    """Counts the images that it encodes."""

    count = 0

    def encode(self, x: Tensor) -> Tensor:
        self.count += len(x)
        return super().encode(x)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept features, of encoders that count as slow."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(encoded_features, "KEPT_FROM", 0.0)
    return tmp_path / "features"


def task(seed: int = 0) -> Task:
    torch.manual_seed(seed)
    model = Autoencoder(CountingConv(1, 4, hidden=8, residual_hidden=4), VQ(8, 4))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads lack it
    return Task(model, Few(), spec.seeds(1, "few"), Engine("cpu"), Path(), CodebookMonitor())


def features(made: Task, images: int = 300) -> tuple[Tensor, int]:
    """Return the features of the first images, and how many were encoded for them."""
    backbone = made.model.backbone
    assert isinstance(backbone, CountingConv)
    before = backbone.count
    return encoded(made, made.dataset.pixels("train")[:images]), backbone.count - before  # type: ignore[arg-type]


def test_kept_features_are_the_same_bits(cache: Path) -> None:
    """A second run encodes the first images alone, and has the features of the first, in the same memory order."""
    first, count = features(task())
    assert (first.shape, count) == ((300, 4, 7, 7), 300)
    again, count = features(task())
    assert count == PIECE
    assert torch.equal(first, again)
    assert first.stride() == again.stride()
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("other", ["weights", "count", "damage", "content"])
def test_other_features_are_not_used(cache: Path, other: str) -> None:
    """Other weights, other images, a flipped bit, and features of something else under the name are encoded anew."""
    first, _ = features(task())
    (path,) = cache.iterdir()
    if other == "damage":
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
    elif other == "content":
        encoded_features._write(path, first + 1)
    found, count = features(task(seed=int(other == "weights")), images=290 if other == "count" else 300)
    assert count == len(found)
    assert torch.equal(found, first[: len(found)]) == (other != "weights")


def test_fast_encoders_leave_no_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that are computed within seconds are not written."""
    monkeypatch.setattr(encoded_features, "KEPT_FROM", 1000.0)
    features(task())
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_is_a_warning(cache: Path) -> None:
    """Without room for the file, the run goes on with a warning."""
    cache.write_text("a file in place of the folder")
    with pytest.warns(UserWarning, match="features are not kept for the next run"):
        found, _ = features(task())
    assert len(found) == 300
