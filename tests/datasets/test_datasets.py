"""The data sets: the right images, in the right order, with the statistics that the protocol rests on."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import pytest
import torch

from vqbench.dataset import Dataset
from vqbench.datasets import fashion_mnist_5k
from vqbench.datasets.cifar10 import Cifar10
from vqbench.datasets.fashion_mnist import FashionMnist
from vqbench.datasets.fashion_mnist_5k import FashionMnist5k
from vqbench.datasets.mnist import Mnist
from vqbench.errors import AssetError
from vqbench.images import idx_images

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(fashion_mnist_5k.__file__).with_name("data")
DIGESTS = {
    Mnist: ("741c988805d008ac", "6d87418db22cc802"),
    FashionMnist: ("2e487a6c89124f78", "c867c93ff9536059"),
    Cifar10: ("9d5c2eddadb0deff", "177777c33ba79825"),
    FashionMnist5k: ("2c148751121f8d99", "8d46efb2efae7259"),
}


@pytest.mark.parametrize("dataset", DIGESTS)
def test_images_keep_the_contract(dataset: type[Dataset]) -> None:
    """Both splits are contiguous uint8 images of the declared number, channels and size, with known digests."""
    for split, start in zip(dataset.counts, DIGESTS[dataset], strict=True):
        pixels = dataset().pixels(split)
        assert pixels.shape == (dataset.counts[split], dataset.channels, dataset.size, dataset.size)
        assert pixels.dtype == torch.uint8
        assert pixels.is_contiguous()
        assert dataset().digest(split).startswith(start)
    assert dataset.holdout < dataset.counts["train"]
    assert all(isinstance(text, str) and text for text in (dataset.title, dataset.source, dataset.licence))


@pytest.mark.parametrize(("dataset", "variance"), [(Mnist, 0.094930), (FashionMnist, 0.124626), (Cifar10, 0.063287)])
def test_variance_of_training_pixels(dataset: type[Dataset], variance: float) -> None:
    """The population variance of all training pixels divided by 255 is the published one, to six digits."""
    counts = torch.bincount(dataset().pixels("train").flatten(), minlength=256).double()
    values = torch.arange(256).double() / 255
    mean = (counts * values).sum() / counts.sum()
    assert round(float((counts * (values - mean) ** 2).sum() / counts.sum()), 6) == variance


def test_channel_means_of_cifar10() -> None:
    """Red, green and blue come in this order: their means over the training split are the published ones."""
    pixels = Cifar10().pixels("train")
    means = pixels.sum(dim=(0, 2, 3)) / (pixels[:, 0].numel() * 255)
    assert [round(float(mean), 5) for mean in means] == [0.49140, 0.48216, 0.44653]


def test_embedded_images_are_the_first() -> None:
    """The embedded images are bit for bit the first ones of the official files."""
    for split, count in FashionMnist5k.counts.items():
        assert torch.equal(FashionMnist5k().pixels(split), FashionMnist().pixels(split)[:count])


def test_embedded_images_need_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The embedded images need no cache, network or asset; their folder is small and names its licence."""
    monkeypatch.setenv("VQBENCH_OFFLINE", "1")
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "none"))
    assert len(FashionMnist5k().pixels("train")) == 4_000
    assert FashionMnist5k.assets == ()
    assert FashionMnist5k.holdout == 500
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 2_500_000
    assert "2017 Zalando SE" in (DATA / "LICENSE").read_text(encoding="utf-8")


def test_embedded_file_is_made_by_the_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tool in this repository makes the same idx files as are in the package."""
    spec = importlib.util.spec_from_file_location("make_fashion_mnist_5k", ROOT / "tools" / "make_fashion_mnist_5k.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, "DATA", tmp_path)
    tool.main()
    for file in fashion_mnist_5k.FILES.values():
        assert gzip.decompress((tmp_path / file).read_bytes()) == gzip.decompress((DATA / file).read_bytes())


def test_broken_installation_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing embedded file raises AssetError with the advice to reinstall."""
    monkeypatch.setitem(fashion_mnist_5k.FILES, "train", "not-there.gz")
    with pytest.raises(AssetError, match=r"not-there\.gz is missing or broken .*reinstall vqbench"):
        FashionMnist5k().pixels("train")


def test_missing_images_are_an_asset_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A data set with unavailable files raises AssetError."""
    monkeypatch.setenv("VQBENCH_OFFLINE", "1")
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "none"))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    for dataset in (Mnist, FashionMnist, Cifar10):
        with pytest.raises(AssetError, match=f"cannot get {dataset.title}"):
            dataset().pixels("test")


def test_idx_head_is_heeded() -> None:
    """Number, height and width are read from the head of an idx file, big-endian."""
    head = b"".join(value.to_bytes(4, "big") for value in (0x803, 2, 3, 4))
    images = idx_images(head + bytes(range(24)))
    assert images.shape == (2, 1, 3, 4)
    assert images[1, 0, 2, 3] == 23
