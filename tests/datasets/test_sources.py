"""Data sets of features: their statistics, their dimensions, and that no image is asked of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqbench.datasets._sources import MemorylessSource
from vqbench.datasets.gaussian import Gaussian
from vqbench.datasets.uniform import Uniform
from vqbench.errors import UsageError
from vqbench.planning import loading

SUITE = """\
name: alone
train: {atomic: {epochs: 1, batch_size: 64, learning_rate: 1e-2}}
measure: [clean]
datasets: [{gaussian: {dim: 4}}]
backbone: space_to_depth
codebook: {num_codes: 8, dim: 4}
quantizers: [vq]
metrics: [relative_error]
"""
REFUSED = {
    "a metric of images": ({7: "metrics: [psnr]"}, "8:11: metrics.0: psnr measures images, and Gaussian has features"),
    "a recipe of images": (
        {1: "train: {clean: {batch_size: 64}}"},
        "train.clean: autoencoder trains on images, and Gaussian has features; take atomic",
    ),
    "more dimensions than it has": ({5: "codebook: {num_codes: 8, dim: 5}"}, "dim to 4 or less"),
    "a network for images": ({4: "backbone: conv"}, "conv does not return images of 1x1 pixels"),
    "blocks that mix data sets": (
        {3: "datasets: [gaussian, uniform]", 7: "metrics: [usage]\ntable: {group: [dim, num_codes]}"},
        "group by [dataset, dim, num_codes], or set layout to side_by_side",
    ),
    "an unknown argument in a group": ({7: "metrics: [usage]\ntable: {group: [dim, codes]}"}, "no row has an argument"),
}


@pytest.mark.parametrize(("cls", "kurtosis"), [(Gaussian, 3.0), (Uniform, 1.8)])
def test_values_are_independent_with_mean_0_and_variance_1(cls: type[MemorylessSource], kurtosis: float) -> None:
    """Moments of both splits are those of the distribution, dimensions do not correlate, and splits differ."""
    dataset = cls(dim=3, train=40_000, test=20_000)
    train, test = (dataset.pixels(split)[:, :, 0, 0].double() for split in ("train", "test"))  # type: ignore[arg-type]
    for values in (train, test):
        assert torch.allclose(values.T.cov(), torch.eye(3, dtype=torch.float64), atol=0.04)
        assert values.mean(0).abs().max() < 0.04
        assert torch.allclose((values**4).mean(0), torch.full((3,), kurtosis, dtype=torch.float64), atol=0.15)
    assert not {tuple(row) for row in test.tolist()} & {tuple(row) for row in train.tolist()}


def test_the_seed_decides_and_other_seeds_are_other_features() -> None:
    """The same arguments give the same bits, and another seed has another digest."""
    digests = [Gaussian(dim=2, train=100, test=50, seed=seed).digest("test") for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("case", REFUSED)
def test_what_features_cannot_be_used_for_is_refused(case: str, tmp_path: Path) -> None:
    """A plan names the place in the file and what will do, before anything is trained."""
    changes, words = REFUSED[case]
    lines = SUITE.splitlines()
    for number, line in changes.items():
        lines[number] = line
    path = tmp_path / "alone.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError) as error:
        loading.load(path, [])
    assert words in str(error.value)
