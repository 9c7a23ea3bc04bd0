"""Batches of images, reconstructions and codes for the tests of metrics, and small stand-ins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import skimage.data
import torch
from torch import Tensor

from vqbench import assets, registry
from vqbench.images import as_measured
from vqbench.metric import Batch, Context, Metric
from vqbench.metrics import rfid
from vqbench.metrics._feature_distances import Moments
from vqbench.protocol import MeasureProtocol, measuring

CPU = torch.device("cpu")
CODES = 16  # size of the codebook in these tests


def context(
    protocol: str = "clean", num_codes: int | None = CODES, bits: float | None = 4.0, depth: int = 2
) -> Context:
    return Context(measuring(protocol), "0" * 64, num_codes, bits, CPU, depth)


def metric(name: str, of: Context | None = None) -> Metric:
    return registry.load("metrics", name)(of or context())


def grey(count: int) -> Tensor:
    """The first test images of Fashion-MNIST, (count, 1, 28, 28) in [-1, 1]."""
    return (registry.load("datasets", "fashion_mnist_5k")().pixels("test")[:count].float() / 255 - 0.5) / 0.5


def colour(count: int) -> Tensor:
    """Crops of a photograph, (count, 3, 32, 32) in [-1, 1]."""
    photograph = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)
    crops = [photograph[:, 8 * i : 8 * i + 32, 40 + 12 * i : 72 + 12 * i] for i in range(count)]
    return (torch.stack(crops).float() / 255 - 0.5) / 0.5


def reconstructed(x: Tensor) -> Tensor:
    """What a weak model might give: blurred, on 16 levels, and a little beyond [-1, 1]."""
    blurred = torch.from_numpy(scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, 0.8, 0.8)))
    return 1.05 * (blurred * 8).round() / 8


def codes_of(x: Tensor) -> Tensor:
    """A code map (B, 4, 4, 2) of two depths: the levels of means and of deviations of patches."""
    patches = torch.nn.functional.adaptive_avg_pool2d(x[:, :1], 4)[:, 0]  # (B, 4, 4)
    mean = ((patches + 1) / 2 * (CODES - 1)).round().long()
    return torch.stack((mean, mean // 3), dim=-1)


def batch_of(x: Tensor, protocol: str = "clean", start: int = 0) -> Batch:
    seen = measuring(protocol)
    index = torch.arange(start, start + len(x))
    return Batch(as_measured(x, seen), as_measured(reconstructed(x), seen), codes_of(x), index)


def part(batch: Batch, begin: int, end: int) -> Batch:
    cut = slice(begin, end)
    assert batch.codes is not None
    return Batch(batch.originals[cut], batch.reconstructions[cut], batch.codes[cut], batch.index[cut])


def channels_last(images: Tensor) -> np.ndarray:
    """(B, C, H, W) to (B, H, W, C) float64, as scikit-image takes them."""
    return images.double().permute(0, 2, 3, 1).numpy()


def cheap_features(net: torch.nn.Module, images: Tensor, resize: int | None, scale: None = None) -> Tensor:
    """Replace Inception's where only sums matter: values of an upscaled image, (B, 2048)."""
    return torch.nn.functional.interpolate(images[:, :1], (32, 64)).flatten(1)


def cheap_distance(protocol: MeasureProtocol, first: Moments, second: Moments) -> float:
    """Replace Fréchet's distance where only moments matter: that of Gaussians with independent features."""
    (mean, cov), (other, others) = first, second
    roots = (np.sqrt(np.diagonal(each).clip(0)) for each in (cov, others))
    return float(((mean - other) ** 2).sum() + (np.subtract(*roots) ** 2).sum())


def file_of(of: Context) -> Path:
    """Return where metrics of features keep those of the originals."""
    collector = metric("rfid", of)
    assert isinstance(collector, rfid.RFID)
    return collector.originals.path


def coded(codes: list) -> Batch:
    """A batch with the given codes, nested as (B, h, w, depth)."""
    tensor = torch.tensor(codes)
    images = torch.zeros(len(tensor), 1, 4, 4)
    return Batch(images, images, tensor, torch.arange(len(tensor)))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetch the networks' weights, and cache the features of these tests' images elsewhere."""
    for name in ("inception_fid", "vgg16_lpips", "alexnet_lpips"):
        assets.fetch(name)
    monkeypatch.setattr(assets, "cache_folder", lambda: tmp_path)
