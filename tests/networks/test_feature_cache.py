"""Features of a split are computed once, and a damaged or shorter file is never used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.measured_batches import (
    CPU,
    cheap_features,
    context,
    file_of,
    grey,
)
from vqbench.evaluation.samples import SampleEvaluator
from vqbench.images import rounded
from vqbench.networks import inception
from vqbench.networks.feature_cache import FeatureCache
from vqbench.protocol import measuring
from vqbench.store.value_name import Sampling


def test_files_of_features_are_named_by_what_decides_them(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another data set, protocol, version of it or of features, or net has another file; another run has not."""
    clean = context()
    paths = [
        file_of(clean),
        file_of(context("official")),
        file_of(replace(clean, dataset="1" * 64)),
        file_of(replace(clean, protocol=replace(clean.protocol, VERSION=99))),
    ]
    assert file_of(replace(clean, num_codes=7, bits=1.0)) == paths[0]
    with monkeypatch.context() as patch:
        patch.setattr(inception, "VERSION", 99)
        paths.append(file_of(clean))
    monkeypatch.setattr(inception, "network", lambda device: torch.nn.Linear(2, 2))
    paths.append(file_of(clean))
    assert len(set(paths)) == 6


def test_references_of_samples_share_the_file(weights: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference features of samples and of reconstructions share one cache, in every version."""
    monkeypatch.setattr(inception, "features", cheap_features)
    images = rounded((grey(5) + 1) / 2)
    dataset = SimpleNamespace(pixels=lambda split: images, digest=lambda split: "0" * 64)
    under = Sampling(9, "test")
    for version in (inception.VERSION, 99):
        monkeypatch.setattr(inception, "VERSION", version)
        evaluator = SampleEvaluator(dataset, CPU)  # type: ignore[arg-type]
        features = evaluator._reference_features(f"clean:{under.name}", under, measuring("clean"))
        cache = FeatureCache(file_of(context()))
        assert torch.equal(cache.get(range(5), refuse), features)
    assert len([*tmp_path.glob("features/*.npy")]) == 2


def rows(*positions: int) -> Tensor:
    """Features that identify their image."""
    return torch.tensor(positions, dtype=torch.float32)[:, None].expand(-1, inception.DIM)


def filled(path: Path, *positions: int) -> FeatureCache:
    cache = FeatureCache(path)
    cache.get(list(positions), lambda places: rows(*(positions[place] for place in places)))
    return cache


def refuse(places: list[int]) -> Tensor:
    raise AssertionError(f"computed again: {places}")


def test_the_cache_keeps_images_in_order(tmp_path: Path) -> None:
    """Features seen in any order come back from disk by position, and only what is missing is computed."""
    path = tmp_path / "f.npy"
    filled(path, 2, 0, 3, 1).save()
    cache = FeatureCache(path)
    assert torch.equal(cache.get([3, 1, 0, 2], refuse), rows(3, 1, 0, 2))
    asked: list[list[int]] = []
    cache.get([1, 4, 0, 5], lambda places: (asked.append(places), rows(4, 5))[1])
    assert asked == [[1, 3]]
    assert torch.equal(cache.get([5, 4], refuse), rows(5, 4))


def test_the_cache_writes_whole_prefixes_and_never_less(tmp_path: Path) -> None:
    """Nothing is written of images with gaps, no shorter file replaces a longer one, and no other file is left."""
    path = tmp_path / "f.npy"
    filled(path, 1, 2).save()
    assert not path.exists()
    shorter = filled(path, 0)  # another process, which began before there was a file
    filled(path, 0, 1, 2).save()
    shorter.save()
    assert np.load(path).shape == (3, inception.DIM)
    assert [p.name for p in tmp_path.iterdir()] == ["f.npy"]


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "changed", "without its digest"])
def test_the_cache_does_not_believe_a_damaged_file(tmp_path: Path, damage: str) -> None:
    """A file that is cut off, empty, of another shape or with other values than written is as none, and is replaced."""
    path = tmp_path / "f.npy"
    filled(path, 0, 1, 2).save()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "changed":
        content = bytearray(path.read_bytes())
        content[5000] ^= 1
        path.write_bytes(content)
    elif damage == "without its digest":
        np.save(path, np.zeros((9, inception.DIM), np.float32))
    else:
        np.save(path, np.zeros((9, 64), np.float32))
    filled(path, 0, 1).save()
    assert torch.equal(FeatureCache(path).get([1, 0], refuse), rows(1, 0))


def test_a_cache_that_cannot_be_written_warns(tmp_path: Path) -> None:
    """A cache folder that is a file costs the next run its time, and this run a warning, but not its value."""
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not kept"):
        filled(tmp_path / "file" / "f.npy", 0, 1).save()
