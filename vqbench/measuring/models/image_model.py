"""A model that reconstructs images: its input, and checks of its output."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vqbench.errors import RunError, UsageError, VqbenchError, counted
from vqbench.evaluation.image_arrays import code_tensor, require_codes
from vqbench.evaluation.reconstructions import BATCH
from vqbench.images import to_unit
from vqbench.measuring.inputs.value_range import ValueRange, as_unit

PIXELS = 2**20  # of a batch for a model: 100 images up to 102x102, 16 of 256x256
SEED = 0x7662  # of random models, together with the position of the first image of a batch

Compute = Callable[[Tensor], Any]  # images (B, C, H, W) -> reconstructions, or (reconstructions, codes)


class ModelOutput(NamedTuple):
    """Reconstructions of some images, and their codes."""

    images: Tensor  # (B, C, H, W) float32 in [-1, 1], perhaps beyond
    codes: Tensor | None  # (B, h, w, depth) int64


@dataclass(frozen=True)
class ImageModel:
    """A model on its device, and how images are handed to it.

    ``compute`` is called without gradients, with the random generators seeded by the position of its first image, and
    modules are in evaluation mode, so that an image is reconstructed alike in a run that was resumed.
    """

    name: str  # as the user named it
    kind: str  # in words
    compute: Compute
    stamp: tuple[Any, ...]  # JSON data that changes with the weights
    device: torch.device
    range: ValueRange = ValueRange.SIGNED  # of the images that it takes and returns
    declared: bool = False  # whether the user has stated the range
    channels: int | None = None  # that it takes; None: any
    size: int | None = None  # side that it was trained on, in pixels; None: any
    num_codes: int | None = None  # size of the codebook; None: unknown, or without one
    bits: float | None = None  # per position, where these are not those of the codebook's size
    most: int | None = None  # images together; None: as :data:`PIXELS` says
    least: int = 1  # images together; fewer are filled up by repeating the last
    blind: bool = False  # whether weights may change without a change of ``stamp``

    def batch_size(self, height: int, width: int) -> int:
        """Return how many images of this size it is given together, at most."""
        return self.most or max(1, min(BATCH, PIXELS // (height * width)))

    def reconstruct(self, images: np.ndarray, scale: ValueRange | None, names: list[str], position: int) -> ModelOutput:
        """Reconstruct images of one size, in batches.

        Args:
            images: (B, C, H, W): uint8 if ``scale`` is None, else floats in this range.
            scale: The range of floats.
            names: Of the images, for errors.
            position: Of the first one among all.

        Raises:
            UsageError: An output of another shape, type or number of codes.
            RunError: The model fails, or returns NaN.
        """
        step = self.batch_size(*images.shape[-2:])
        starts = range(0, len(images), step)
        parts = [
            self._part(as_given(images[start : start + step], scale, self.range), names[start], position + start)
            for start in starts
        ]
        codes = [part.codes for part in parts if part.codes is not None]
        return ModelOutput(torch.cat([part.images for part in parts]), torch.cat(codes) if codes else None)

    def _part(self, given: Tensor, name: str, position: int) -> ModelOutput:
        count = len(given)
        if count < self.least:
            given = torch.cat([given, given[-1:].expand(self.least - count, -1, -1, -1)])
        where = f"{self.name}: for {counted(len(given), 'image')} from {name} on, the model"
        try:
            with torch.no_grad(), torch.random.fork_rng(self._generators()):
                torch.manual_seed(SEED + position)
                output = self.compute(given.to(self.device))
        except VqbenchError:
            raise
        except torch.OutOfMemoryError as error:
            raise RunError(f"{where} needs more memory than {self.device} has; --batch-size gives it fewer") from error
        except (Exception, SystemExit) as error:  # code of the user's
            raise RunError(f"{where} fails: {_cause(error)}") from error
        images, codes = self._separated(output, where)
        self._require_images(images, given.shape, where)
        codes = None if codes is None else self._checked(codes, len(given), where)[:count].clone()
        # Copies, since a model may return the same buffer for each batch, as CUDA graphs do.
        return ModelOutput(from_given(images, self.range)[:count].clone(), codes)

    def _generators(self) -> list[int]:
        return [self.device.index or 0] if self.device.type == "cuda" else []

    def _separated(self, output: Any, where: str) -> tuple[Tensor, Any]:
        """Return images as a tensor, and codes. Raises UsageError for anything else."""
        images, codes = output, None
        if isinstance(output, tuple | list):
            if len(output) != 2:
                raise UsageError(f"{where} returns {len(output)} values; return reconstructions, or (them, codes)")
            images, codes = output
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(images)
        if not isinstance(images, Tensor):
            raise UsageError(f"{where} returns {type(images).__name__}; return a tensor of images, or (images, codes)")
        return images.detach(), codes

    def _require_images(self, images: Tensor, shape: torch.Size, where: str) -> None:
        if images.shape != shape:
            raise UsageError(
                f"{where} returns the shape {tuple(images.shape)} for {tuple(shape)}, which must be the same; "
                "--originals-as prepares images of another size"
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise UsageError(f"{where} returns {images.dtype}; return floats in {self.range.value}, or uint8")
        if not images.isfinite().all():
            raise RunError(f"{where} returns NaN or infinity: its training has diverged, or it needs float32")

    def _checked(self, codes: Any, count: int, where: str) -> Tensor:
        """Return codes (B, h, w, depth). Raises UsageError."""
        checked = code_tensor(codes, f"{where} returns codes that are wrong: codes")
        if len(checked) != count:
            raise UsageError(f"{where} returns codes of {counted(len(checked), 'image')}; give (B, h, w)")
        if self.num_codes is not None:
            require_codes(checked, self.num_codes, f"{where} returns codes that are wrong: they")
        return checked


def as_given(images: np.ndarray, scale: ValueRange | None, wanted: ValueRange) -> Tensor:
    """Convert images to float32 in the range that a model takes.

    ``images`` are uint8 if ``scale`` is None, else floats in this range.
    """
    if wanted is ValueRange.SIGNED:
        return as_unit(images, scale)
    levels = wanted is ValueRange.LEVELS
    if scale is None:
        x = torch.from_numpy(images).float()
        return x if levels else x / 255
    low, high = scale.ends
    unit = (torch.from_numpy(images).float().clamp(low, high) - low) / (high - low)
    return unit * 255 if levels else unit


def from_given(images: Tensor, own: ValueRange) -> Tensor:
    """Convert a model's output to float32 in [-1, 1]: uint8, or floats in ``own``."""
    if images.dtype == torch.uint8:
        return to_unit(images)
    if own is ValueRange.SIGNED:
        return images.float()
    low, high = own.ends
    return ((images.float() - low) / (high - low) - 0.5) / 0.5


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers: names, types, shapes, bytes."""
    sha = hashlib.sha256()
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
            sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _cause(error: BaseException) -> str:
    """Return what was raised, in one line, with the line of the innermost call."""
    message = " ".join(str(error).split())[:200]
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {message} ({Path(last.filename).name}, line {last.lineno})"
