"""KID against torch-fidelity's and its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.fidelity import Images
from vqbench import assets, registry
from vqbench.errors import RunError
from vqbench.images import rounded
from vqbench.metric import Batch, Context, Metric
from vqbench.metrics import _feature_distances, _reconstruction_features
from vqbench.networks import inception
from vqbench.networks.compat import ensure_torchvision
from vqbench.protocol import measuring

pytestmark = pytest.mark.integration


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inception's weights are fetched if need be; features of these tests' images go to a folder of their own."""
    assets.fetch("inception_fid")
    monkeypatch.setattr(assets, "cache_folder", lambda: tmp_path)


def collector() -> Metric:
    return registry.load("metrics", "kid")(Context(measuring("clean"), "0" * 64, None, None, torch.device("cpu")))


def noise_and_softened(count: int) -> tuple[Tensor, Tensor]:
    """Noise in [0, 1] (count, 3, 32, 32), and a softened copy of it."""
    draw = torch.Generator().manual_seed(0)
    originals = torch.rand(count, 3, 32, 32, generator=draw)
    return originals, torch.nn.functional.avg_pool2d(originals, 3, 1, 1)


def batch(originals: Tensor, reconstructions: Tensor, start: int = 0) -> Batch:
    return Batch(originals, reconstructions, None, torch.arange(start, start + len(originals)))


def cheap(net: torch.nn.Module, seen: Tensor, resize: int | None, scale: None = None) -> Tensor:
    """In place of Inception's: the images' own values, (B, 2048)."""
    return 10 * seen.flatten(1)[:, :2048]


def test_value_is_torch_fidelitys(weights: None, tmp_path: Path) -> None:
    """On 12 images it is torch_fidelity.calculate_metrics' KID with one subset of them all, times 1,000."""
    ensure_torchvision()
    import torch_fidelity

    originals, reconstructions = noise_and_softened(12)
    ours = collector()
    ours.update(batch(originals[:5], reconstructions[:5]))
    ours.update(batch(originals[5:], reconstructions[5:], 5))
    path = tmp_path / "inception.pth"
    fc = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save({**assets.tensors("inception_fid"), **fc}, path)
    wanted = torch_fidelity.calculate_metrics(
        input1=Images(rounded(originals)),
        input2=Images(rounded(reconstructions)),
        kid=True,
        kid_subset_size=12,
        kid_subsets=1,
        feature_extractor_weights_path=str(path),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )["kernel_inception_distance_mean"]
    assert ours.compute() == pytest.approx(1000 * wanted, rel=1e-5)
    assert wanted > 0.01


def test_value_is_the_formula(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unbiased MMD² with the cubic kernel, summed pair by pair in plain numpy."""
    monkeypatch.setattr(inception, "features", cheap)
    originals, reconstructions = noise_and_softened(6)
    ours = collector()
    ours.update(batch(originals, reconstructions))
    x, y = (cheap(None, seen, None).double().numpy() for seen in (originals, reconstructions))  # type: ignore[arg-type]
    kernel = lambda a, b: (a @ b / 2048 + 1) ** 3  # noqa: E731
    same = sum(kernel(a, b) for s in (x, y) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) / (6 * 5)
    across = sum(kernel(a, b) for a in x for b in y) / 36
    assert ours.compute() == pytest.approx(1000 * (same - 2 * across), rel=1e-4)


def test_ranks_add_up(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of two ranks that saw different images add up to that of one that saw all, and so does the value."""
    monkeypatch.setattr(inception, "features", cheap)
    originals, reconstructions = noise_and_softened(9)
    whole, first, second = collector(), collector(), collector()
    whole.update(batch(originals, reconstructions))
    first.update(batch(originals[:4], reconstructions[:4]))
    second.update(batch(originals[4:], reconstructions[4:], 4))
    for name, value in first.state.items():
        value += second.state[name]
        assert torch.equal(value, whole.state[name])
    assert first.compute() == whole.compute()


def test_a_subset_is_drawn_of_many_and_the_first_count(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a subset's size there are many, the same each time; images beyond those that are kept are dropped."""
    monkeypatch.setattr(inception, "features", cheap)
    monkeypatch.setattr(_feature_distances, "SUBSET_SIZE", 5)
    monkeypatch.setattr(_reconstruction_features, "MOST", 12)
    originals, reconstructions = noise_and_softened(16)
    values = []
    for count in (12, 12, 16):
        ours = collector()
        ours.update(batch(originals[:10], reconstructions[:10]))
        ours.update(batch(originals[10:count], reconstructions[10:count], 10))
        values.append(ours.compute())
    assert values[0] == values[1] == values[2]
    assert np.isfinite(values[0])


def test_one_image_has_no_kid(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel between images needs two."""
    monkeypatch.setattr(inception, "features", cheap)
    ours = collector()
    ours.update(batch(*noise_and_softened(1)))
    with pytest.raises(RunError, match="KID needs at least 2 images"):
        ours.compute()
