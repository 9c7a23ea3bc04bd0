"""A published VQGAN from a checkpoint of taming-transformers."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from vqbench.assets import torch_archives
from vqbench.backbones.vqgan import VQGAN
from vqbench.bounds import Layers, Side, Width
from vqbench.errors import AssetError
from vqbench.system.paths import path_of

CODEBOOK = "quantize.embedding.weight"
LOSSES = "loss."  # the discriminator and the perceptual network, which are no part of the model


class Pretrained(VQGAN):
    """VQGAN with the weights of a checkpoint of taming-transformers.

    ``file``: its path, absolute or below the folder VQBENCH_DATA. ``sha256``: its digest, which identifies the weights
    in the run key, wherever the file is; the error for a wrong digest states the right one. The other arguments must
    be those that the checkpoint was trained with: apart from the codebook and ``loss.*``, its parameters must be those
    of this backbone one by one. Only tensors are read; nothing in the file is executed or imported.

    The recipe ``gan`` copies the codebook into the quantizer; with ``steps: 0`` it trains nothing, so that the
    published weights are measured. Raises AssetError for a file that is missing or no such checkpoint.
    """

    VERSION = 1
    check_args: ClassVar = {}  # those of the checkpoint decide
    presets: ClassVar = {}

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        file: str,
        sha256: str,
        width: Width = 128,
        multipliers: str = "1x1x2x2x4",
        blocks: Layers = 2,
        attention: str = "16",
        middle: bool = True,
        z_channels: Width = 256,
        size: Side = 256,
    ) -> None:
        shape: dict[str, Any] = {"width": width, "multipliers": multipliers, "blocks": blocks, "attention": attention}
        super().__init__(channels, dim, **shape, middle=middle, z_channels=z_channels, size=size)
        path = _find(file)
        weights = {name: value for name, value in read(path, sha256).items() if not name.startswith(LOSSES)}
        if CODEBOOK not in weights:
            raise AssetError(f"{path}: it has no {CODEBOOK}, so it is no checkpoint of a VQGAN with one codebook")
        self.codebook = weights.pop(CODEBOOK)
        _require_same(path, {name: value.shape for name, value in self.state_dict().items()}, weights)
        self.load_state_dict(weights)

    @classmethod
    def outline(cls, channels: int, dim: int, **own: Any) -> VQGAN:
        return VQGAN(channels, dim, **{name: value for name, value in own.items() if name not in ("file", "sha256")})


def read(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint. Raises AssetError."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256.lower():
                raise AssetError(
                    f"{path}: its sha256 is {digest}, not {sha256}; set sha256 to the former if this is the right file"
                )
            content = torch_archives.load_checkpoint(file)
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror}); set file to the checkpoint's path") from None
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as error:
        raise AssetError(
            f"{path}: not a checkpoint as torch.save writes it since torch 1.6 ({error}); load it with the torch that "
            "wrote it, and save it again with a newer one"
        ) from None
    state: Any = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise AssetError(f"{path}: it has no state_dict, so it is no checkpoint of a model")
    return {str(name): torch.from_numpy(value) for name, value in state.items() if isinstance(value, np.ndarray)}


def _find(file: str) -> Path:
    path = path_of(file)
    data = os.environ.get("VQBENCH_DATA")
    return path_of(data) / path if data and not path.is_absolute() and not path.exists() else path


def _require_same(path: Path, wanted: dict[str, torch.Size], given: dict[str, torch.Tensor]) -> None:
    """Raise AssetError unless all names and shapes match."""
    differences = {
        "lacks": [name for name in wanted if name not in given],
        "has in addition": [name for name in given if name not in wanted],
        "has in another shape": [
            f"{name} {tuple(given[name].shape)} for {tuple(shape)}"
            for name, shape in wanted.items()
            if name in given and given[name].shape != shape
        ],
    }
    wrong = [f"{what} {len(names)} ({', '.join(names[:3])})" for what, names in differences.items() if names]
    if wrong:
        raise AssetError(
            f"{path}: of the parameters of this backbone it {', '.join(wrong)}; set width, multipliers, blocks, "
            "attention, middle, z_channels and the codebook's dim as the checkpoint's configuration has them"
        )
