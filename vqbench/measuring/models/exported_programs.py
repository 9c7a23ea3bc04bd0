"""Programs of torch.export and TorchScript: code, loaded only if trusted."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vqbench.assets.content import digest_of_file
from vqbench.errors import UsageError
from vqbench.measuring.models.image_model import ImageModel


def is_torchscript(path: Path) -> bool:
    """Return whether ``torch.jit.save`` wrote a file; nothing in it is executed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def torchscript(path: Path, device: torch.device, trust: bool) -> ImageModel:
    """Load a program of TorchScript.

    Raises UsageError unless it is trusted, or if it cannot be loaded.
    """
    _require_trust(path, "TorchScript", trust)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            module = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"{path}: not a program of TorchScript ({_first_line(error)})") from error
    return ImageModel(str(path), "TorchScript", module.eval(), ("torchscript", digest_of_file(path)), device)


def exported_program(path: Path, device: torch.device, trust: bool) -> ImageModel:
    """Load a program of ``torch.export``, on the device that was chosen.

    A program for a fixed number of images gets as many. Raises UsageError unless it is trusted, or if it cannot be
    loaded.
    """
    from torch.export.passes import move_to_device_pass

    _require_trust(path, "torch.export", trust)
    try:
        program = move_to_device_pass(torch.export.load(path), str(device))
        module = program.module()
    except Exception as error:  # whatever the archive makes of its reader
        raise UsageError(f"{path}: not a program of torch.export ({_first_line(error)})") from error
    least, most = _batch_bounds(program, path)
    stamp = ("torch.export", digest_of_file(path))
    return ImageModel(str(path), "torch.export", module, stamp, device, least=least, most=most)


def _batch_bounds(program: Any, path: Path) -> tuple[int, int | None]:
    """Return the least and the greatest number of images that a program takes.

    The second is None without a limit.
    """
    names = program.graph_signature.user_inputs
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    shape: Sequence[Any] = getattr(inputs[0].meta.get("val"), "shape", ()) if inputs else ()
    if len(inputs) != 1 or len(shape) != 4:
        raise UsageError(f"{path}: it takes {len(inputs)} inputs; export a program of images (B, C, H, W) alone")
    if isinstance(shape[0], int):
        return shape[0], shape[0]
    bounds = program.range_constraints.get(shape[0].node.expr)
    if bounds is None:
        return 1, None
    upper = int(bounds.upper) if bounds.upper.is_finite and bounds.upper < 2**20 else None
    return max(1, int(bounds.lower)), upper


def _require_trust(path: Path, kind: str, trust: bool) -> None:
    if not trust:
        raise UsageError(
            f"{path}: a file of {kind} holds code that runs when it is loaded; add --trust if you trust its source"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
