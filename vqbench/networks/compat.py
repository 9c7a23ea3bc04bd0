"""Make installed libraries that do not fit each other work together."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.library import Library

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: Library | None = None  # its definitions exist as long as the object


def ensure_torchvision() -> None:
    """Make ``import torchvision`` work where its operators do not fit torch.

    Call it before that import. A CPU build of torch cannot load the operators of torchvision's common build, and the
    import then fails with "operator torchvision::nms does not exist", and with it those of lpips and torch_fidelity.
    Declaring the two operators that torchvision mentions while it is imported is enough for models, data sets and
    transforms, which need no compiled operator. Does nothing where the operators load, or where torchvision is already
    imported or not installed.
    """
    global _library
    if _library is not None or "torchvision" in sys.modules:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _operators_load(Path(spec.origin).parent):
        return
    import torch

    _library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            _library.define(operator + _SCHEMA)


def _operators_load(folder: Path) -> bool:
    """Return whether torch can load the operators in torchvision's ``folder``."""
    import torch

    for path in (*folder.glob("_C*.so"), *folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(path))
        except OSError:  # built for another torch
            continue
    return hasattr(torch.ops.torchvision, "nms")
