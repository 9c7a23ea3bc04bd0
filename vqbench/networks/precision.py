"""Let fixed networks compute in true float32, without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vqbench.functional.precision import float32_products


@contextmanager
def inference_float32(device: torch.device) -> Iterator[None]:
    """Compute in true float32 without gradients, whatever was set outside.

    No autocast, no bfloat16 and no TF32 (cuDNN's default): values do not depend on how a model was trained.
    """
    with float32_products(), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield
