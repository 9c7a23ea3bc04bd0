"""The assets that vqbench uses, and the digests of their content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from vqbench.assets.content import CIFAR10_NAMES, IDX_NAMES

if TYPE_CHECKING:
    from vqbench.assets.forms import Form
    from vqbench.assets.origins import Origins
    from vqbench.assets.sources import AssetSource


@dataclass(frozen=True)
class Asset:
    """A data set or the weights of a network.

    Attributes:
        name: In the catalogue.
        title: In messages.
        licence: Of the content.
        algorithm: Of the digests; for tensors it is ``vqbench.assets.content.digest_of_arrays``.
        digests: Maps the files of the canonical form (for tensors one ``.npz``) to the digests of their content.
        origins: Returns where it comes from. A function, since an asset in the cache needs none of the readers.
    """

    name: str
    title: str
    licence: str
    algorithm: str
    digests: Mapping[str, str]
    origins: Callable[[], Origins]

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms in which it is recognized in a folder or package."""
        return self.origins().forms

    @property
    def sources(self) -> tuple[AssetSource, ...]:
        """The sources from which it can be fetched, in the order of trying."""
        return self.origins().sources

    @property
    def size(self) -> int:
        """Bytes to download, approximately, if the first source answers."""
        return self.sources[0].size

    @property
    def is_weights(self) -> bool:
        """Whether its content is tensors."""
        return all(file.endswith(".npz") for file in self.digests)


def _origins(name: str) -> Callable[[], Origins]:
    def load() -> Origins:
        from vqbench.assets.origins import ORIGINS

        return ORIGINS[name]

    return load


def _data(
    name: str, title: str, licence: str, algorithm: str, files: tuple[str, ...], digests: tuple[str, ...]
) -> Asset:
    return Asset(name, title, licence, algorithm, dict(zip(files, digests, strict=True)), _origins(name))


def _weights(name: str, title: str, licence: str, digest: str) -> Asset:
    return Asset(name, title, licence, "sha256", {f"{name}.npz": digest}, _origins(name))


_ASSETS = (
    _data(
        "mnist",
        "MNIST",
        "CC BY-SA 3.0",
        "md5",
        IDX_NAMES,
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    _data(
        "fashion_mnist",
        "Fashion-MNIST",
        "MIT",
        "md5",
        IDX_NAMES,
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    _data(
        "cifar10",
        "CIFAR10",
        "none stated; its authors ask to cite Krizhevsky (2009)",
        "sha1",
        CIFAR10_NAMES,
        (
            "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
            "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
            "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
            "aab85764eb3584312d3c7f65fd2fd016e36a258e",
            "26e2849e66a845b7f1e4614ae70f4889ae604628",
            "67eb016db431130d61cd03c7ad570b013799c88c",
        ),
    ),
    _weights(
        "inception_fid",
        "Inception-v3 (2015-12-05) of FID, without its classifier",
        "Apache-2.0",
        "11d832932f3637df83c7d23ae4ba44706586ff8701b08fa9144d0c8909952646",
    ),
    _weights(
        "vgg16_lpips",
        "VGG16 trunk of LPIPS",
        "BSD-3-Clause",
        "02288545615486c0cd427dae30a8d4ce87c018df47fc2bd419803d9856483fcc",
    ),
    _weights(
        "dists",
        "weights of the layers in DISTS",
        "MIT",
        "42a47dca42b136737c0956799e1813c8853c4731580c15b9efed4510efbb9c20",
    ),
    _weights(
        "alexnet_lpips",
        "AlexNet trunk of LPIPS",
        "BSD-3-Clause",
        "ab6c5242fd1098c86f0a6176f914e1945c8739e1f64b34f654d165b153d36de0",
    ),
    _weights(
        "efficientnet_lite0",
        "EfficientNet-Lite0, a classifier of ImageNet",
        "Apache-2.0",
        "7fa5c4d8353e8f927403cdf5a09c3be5992a03e8838a7b3ad79e9eb729938f8d",
    ),
)

CATALOGUE: Mapping[str, Asset] = MappingProxyType({asset.name: asset for asset in _ASSETS})
"""All assets by name."""
