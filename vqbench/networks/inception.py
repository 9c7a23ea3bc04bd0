"""The networks that metrics judge with: how they are run, and the features that FID compares."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vqbench import assets
from vqbench.assets.content import digest_of_arrays, replacing
from vqbench.errors import StoreError
from vqbench.functional.precision import float32_products
from vqbench.images import rounded
from vqbench.networks.compat import ensure_torchvision
from vqbench.protocol import MeasureProtocol
from vqbench.system import reading

DIGEST = hashlib.sha256().digest_size
DIM = 2048  # of pool3, the layer that FID is defined on
VERSION = 1  # of how features are computed; raised by hand, it names other files of those that are kept
CHUNK = 50  # images a pass through the network
LAYERS = (  # of torch-fidelity's extractor, from the image to pool3
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *(f"Mixed_{block}" for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
    "AvgPool",
)


def features_path(protocol: MeasureProtocol, pictures: str, device: torch.device) -> Path:
    """Where the features of a split are kept, the digest of whose content is ``images``: named by what decides them.

    Originals that are held against reconstructions and references of samples share a file.
    """
    weights = _weights_digest(network(device))[:16]
    name = f"{pictures}-{protocol.name}-v{protocol.VERSION}-rfid-v{VERSION}-{weights}.npy"
    return assets.cache_folder() / "features" / name


@cache
def _weights_digest(net: nn.Module) -> str:
    return digest_of_arrays({name: tensor.cpu().numpy() for name, tensor in net.state_dict().items()})


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """True float32 without gradients, whatever was set outside: no autocast, no bfloat16, no TF32 (cuDNN's default)."""
    with float32_products(), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


@cache
def network(device: torch.device) -> nn.Module:
    """torch-fidelity's Inception-v3 (the 2015-12-05 TensorFlow graph) for the 2048 features of pool3.

    Its classifier, which pool3 does not use, is zero. Raises AssetError if the weights are not to be had.
    """
    ensure_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    classifier = {"fc.weight": torch.zeros(1008, DIM), "fc.bias": torch.zeros(1008)}
    weights = io.BytesIO()  # torch-fidelity knows no other way than a file
    torch.save({**assets.tensors("inception_fid"), **classifier}, weights)
    weights.seek(0)
    with torch.random.fork_rng(devices=[]):  # its random initial weights are none of the run's business
        net: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
        )
    return net.to(device)


def features(net: nn.Module, pictures: Tensor, resize: int | None) -> Tensor:
    """Features of ``images`` (B, C, H, W) in [0, 1], taken to 8 bits by rounding: (B, 2048) float32, on the CPU.

    ``resize`` None: torch-fidelity's path, one bilinear resize to 299 as TensorFlow 1 had it, in torch-fidelity's own
    memory layout, so that features are equal bit by bit (channels last is a third faster on CPUs, but moves rFID by
    1e-6 of its value). Else the released code's: Pillow's bilinear resize to that side, in 8 bits, and from there
    PyTorch's to 299, with channels last.
    """
    levels = rounded(pictures.expand(-1, 3, -1, -1))  # (B, 3, H, W) uint8
    with full_precision(pictures.device):
        if resize is None:
            parts = [net(chunk)[0] for chunk in levels.split(CHUNK)]
        else:
            parts = [_pool3(net, _resized(chunk, resize)) for chunk in levels.split(CHUNK)]
        return torch.cat(parts).cpu()


def _resized(levels: Tensor, side: int) -> Tensor:
    """uint8 (B, 3, H, W) to the network's input in [-1, 1], (B, 3, 299, 299), by way of Pillow at ``side``."""
    arrays = np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())  # (B, H, W, 3)
    small = [np.asarray(Image.fromarray(a).resize((side, side), Image.Resampling.BILINEAR)) for a in arrays]
    unit = torch.from_numpy(np.stack(small)).to(levels.device).permute(0, 3, 1, 2).float() / 255
    unit = unit.contiguous(memory_format=torch.channels_last)
    return 2 * F.interpolate(unit, size=(299, 299), mode="bilinear", align_corners=False) - 1


def _pool3(net: nn.Module, x: Tensor) -> Tensor:
    """The network behind its own preprocessing: (B, 3, 299, 299) in [-1, 1] to (B, 2048)."""
    for layer in LAYERS:
        x = getattr(net, layer)(x)
    return x.flatten(1)


class FeatureStore:
    """Features by position in the test split: each computed once, kept in memory, and on disk for the next process.

    The file is an (N, 2048) array, the features of the first N images, and its SHA-256. It is replaced as a whole,
    and only by a longer one; a process that saw other images than the first N (one rank of several) leaves it alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[int, Tensor] = dict(enumerate(torch.from_numpy(self._on_disk())))

    def get(self, index: Sequence[int], compute: Callable[[list[int]], Iterable[Tensor]]) -> Tensor:
        """Features (B, 2048) of the images at ``index``. ``compute`` gives those at some places within ``index``.

        Each (2048,) is kept when it comes: what ``compute`` gave before it raised an error need not be given again.
        """
        missing = [place for place, position in enumerate(index) if position not in self._rows]
        if missing:
            for place, row in zip(missing, compute(missing), strict=True):
                self._rows[index[place]] = row
        return torch.stack([self._rows[position] for position in index])

    def save(self) -> None:
        """Write the file if there is more to keep than it holds; if it cannot be written, warn and no more."""
        count = len(self._rows)
        if count <= len(self._on_disk()) or not all(position in self._rows for position in range(count)):
            return
        rows = torch.stack([self._rows[position] for position in range(count)]).numpy()
        try:
            with replacing(self.path) as file:
                np.save(file, rows)
                file.write(hashlib.sha256(rows.data).digest())
        except OSError as error:
            warnings.warn(
                f"{self.path}: FID features of the originals are not kept for the next run: {error}", stacklevel=2
            )

    def _on_disk(self) -> np.ndarray:
        """What the file holds now, (N, 2048); no rows if there is none, or it is not what was once written."""
        with suppress(StoreError, FileNotFoundError, ValueError):
            array, digest = reading.large_array(self.path, DIGEST)
            sound = digest == hashlib.sha256(array.data).digest()
            if sound and array.ndim == 2 and array.shape[1] == DIM and array.dtype == np.float32:
                return array
        return np.empty((0, DIM), np.float32)
