"""Features of a frozen encoder, kept on disk where computing them takes long.

All rows of a suite that share an encoder need the same features. A file has the name of all that decides them: the
SHA-256 of the encoder's weights and of the images, how many, torch's version and the device. It is only used if its
content has its own SHA-256 and if the first images are encoded to the same bits anew.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqbench.assets.cache import cache_folder
from vqbench.assets.content import digest_of_arrays, replacing
from vqbench.backbone import Backbone
from vqbench.dataset import Images
from vqbench.errors import StoreError
from vqbench.images import batches, to_unit
from vqbench.recipe import Task
from vqbench.system import stored_files

PIECE = 256  # images that are encoded at once
KEPT_FROM = 10.0  # seconds of encoding: features that are computed faster are not worth a file
DIGEST = hashlib.sha256().digest_size


@torch.no_grad()
def encoded(task: Task, images: Tensor | Images) -> Tensor:
    """Encode training images (N, C, S, S), by the backbone in evaluation mode.

    Returns features (N, dim, s, s) in float32, on the task's device. Every rank has all of them; the first one writes
    the file.
    """
    backbone, device = task.model.backbone.eval(), task.engine.device
    first = torch.cat([*_pieces(backbone, images, 0, PIECE, device)]).contiguous()  # as from a file: sums in one order
    if len(images) <= PIECE:
        return first
    path = _path(task, len(images)) if any(True for _ in backbone.parameters()) else None
    if (kept := _read(path, len(images), first)) is not None:
        return kept.to(device)
    started = time.monotonic()
    features = torch.cat([first, *_pieces(backbone, images, PIECE, len(images), device)]).contiguous()
    if path is not None and task.engine.group.rank == 0 and time.monotonic() - started >= KEPT_FROM:
        _write(path, features)
    return features


def _pieces(
    backbone: Backbone, images: Tensor | Images, start: int, stop: int, device: torch.device
) -> Iterator[Tensor]:
    for piece in batches(images, torch.arange(start, min(stop, len(images))), PIECE):
        yield backbone.encode(to_unit(piece.to(device))).float()


def _path(task: Task, count: int) -> Path:
    weights = {name: each.cpu().numpy() for name, each in task.model.backbone.state_dict().items()}
    parts = (digest_of_arrays(weights), task.dataset.digest("train"), count, torch.__version__, task.engine.device.type)
    name = hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
    return cache_folder() / "features" / f"encoded-{name[:32]}.npy"


def _read(path: Path | None, count: int, first: Tensor) -> Tensor | None:
    """Return the features (count, dim, s, s) of a file, on the CPU.

    None without a sound file whose features begin with ``first``.
    """
    if path is None:
        return None
    with suppress(StoreError, FileNotFoundError, ValueError):
        array, digest = stored_files.large_array(path, DIGEST)
        sound = array.dtype == np.float32 and array.shape == (count, *first.shape[1:])
        if sound and digest == hashlib.sha256(array.data).digest():
            features = torch.from_numpy(array)
            return features if torch.equal(features[: len(first)], first.cpu()) else None
    return None


def _write(path: Path, features: Tensor) -> None:
    """Write features (N, dim, s, s) and their SHA-256; warn where that fails."""
    array = features.cpu().numpy()
    try:
        with replacing(path) as file:
            np.save(file, array)
            file.write(hashlib.sha256(array.data).digest())
    except OSError as error:
        warnings.warn(f"{path}: features are not kept for the next run: {error}", stacklevel=2)
