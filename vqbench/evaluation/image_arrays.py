"""Images that a user gives as arrays: checked, and as models see them.

One rule everywhere: (N, C, H, W) with 1 or 3 channels, either uint8 or floats in [0, 1], as numpy arrays or tensors.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqbench.errors import UsageError
from vqbench.images import to_unit

if TYPE_CHECKING:
    import numpy as np

    AnyArray = np.ndarray | Tensor


LARGEST = 2**63 - 1  # of int64


def image_tensor(images: Any, what: str = "images") -> Tensor:
    """Return ``images`` (N, C, H, W) as a tensor, without a copy where possible.

    Raises UsageError unless they are uint8 or floating-point, with 1 or 3 channels; ``what`` names them.
    """
    tensor = _tensor(images, what)
    shape = tuple(tensor.shape)
    if tensor.ndim == 3:
        raise UsageError(f"{what} of shape {shape}: give a batch (N, C, H, W); {what}[None] makes one of one image")
    if tensor.ndim != 4:
        raise UsageError(f"{what} of shape {shape}: give a batch (N, C, H, W)")
    if shape[1] not in (1, 3):
        last = shape[3] in (1, 3)
        moved = f"channels come second; np.transpose({what}, (0, 3, 1, 2)) moves them"
        fix = moved if last else "give 1 or 3 channels, as (N, C, H, W)"
        raise UsageError(f"{what} of shape {shape}: {fix}")
    if not len(tensor) or not tensor[0].numel():
        raise UsageError(f"{what} of shape {shape}: there is no image in it; give at least one")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise UsageError(f"{what} of type {_name(tensor.dtype)}: give uint8 (0 to 255), or floats in [0, 1]")
    return tensor


def to_model(images: Tensor, what: str = "images") -> Tensor:
    """Convert uint8, or floats in [0, 1], to a model's float32 in [-1, 1].

    A float of level / 255 becomes the same number as that level. Raises UsageError for floats beyond [0, 1].
    """
    if images.dtype == torch.uint8:
        return to_unit(images)
    low, high = (float(end) for end in images.aminmax())
    if not (low >= 0 and high <= 1):  # nor NaN
        raise UsageError(f"{what} {_out_of_range(low, high)}")
    return (images.float() - 0.5) / 0.5


def to_user(x: Tensor) -> Tensor:
    """Convert a model's images to float32 in [0, 1], clamped."""
    return ((x.float() + 1) / 2).clamp(0, 1)


def code_tensor(codes: Any, what: str = "codes") -> Tensor:
    """Return ``codes`` as an int64 tensor (N, h, w, depth).

    Sequences (N, tokens) become (N, 1, tokens, 1), maps (N, h, w) get a depth of 1. Raises UsageError for other shapes,
    for no codes, and for numbers that are not whole.
    """
    tensor = _tensor(codes, what)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise UsageError(f"{what} of type {_name(tensor.dtype)}: give whole numbers, such as int64")
    if not 2 <= tensor.ndim <= 4:
        raise UsageError(f"{what} of shape {tuple(tensor.shape)}: give (N, h, w, depth), (N, h, w) or (N, tokens)")
    if not tensor.numel():
        raise UsageError(f"{what} of shape {tuple(tensor.shape)}: there is no code in it; give at least one")
    if tensor.ndim == 2:
        tensor = tensor[:, None]
    return (tensor if tensor.ndim == 4 else tensor[..., None]).long()


def require_codes(codes: Tensor, num_codes: int, what: str = "codes") -> None:
    """Raise UsageError unless all ``codes`` are in [0, ``num_codes``)."""
    if not codes.numel():
        return
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= num_codes:
        raise UsageError(f"{what} run from {low} to {high}, but those of {num_codes:,} are 0 to {num_codes - 1}")


def _tensor(array: Any, what: str) -> Tensor:
    import numpy as np

    if isinstance(array, Tensor):
        if array.layout != torch.strided or array.is_meta or array.is_nested or array.is_quantized:
            raise UsageError(f"{what}: a sparse, meta, nested or quantized tensor; give a dense one that has values")
        if array.dtype not in (torch.uint16, torch.uint32, torch.uint64):
            return array.detach()
        array = array.cpu().numpy()
    try:
        array = np.asarray(array)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # which torch has, but computes little with
            if array.size and array.max() > LARGEST:
                raise UsageError(f"{what} run up to {array.max()}, which no int64 holds; give smaller numbers")
            array = array.astype(np.int64)
        return _shared(np.ascontiguousarray(array))  # of reversed axes, too
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: not an array of numbers ({error})") from None


def _shared(array: np.ndarray) -> Tensor:
    """Return a tensor of the memory of ``array``.

    It may be read-only: nothing here writes to it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.as_tensor(array)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _out_of_range(low: float, high: float) -> str:
    """Say what is wrong with floats, and what would mend it."""
    if not (low == low and high == high):
        return "contain NaN: a training has diverged, or a file is damaged"
    if high <= 1.5 and low >= -0.5:
        fix = "x.clamp(0, 1) cuts them"
    elif low >= -1.5 and high <= 1.5:
        fix = "(x + 1) / 2 converts from [-1, 1]"
    else:
        fix = "divide levels by 255, or give them as uint8"
    return f"reach from {low:.4g} to {high:.4g}; floats must be in [0, 1]: {fix}"
