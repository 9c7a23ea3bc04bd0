"""Fixed networks compute in true float32."""

from __future__ import annotations

from contextlib import suppress

import torch

from tests.support.measured_batches import (
    CPU,
)
from vqbench.networks.precision import inference_float32


def test_networks_run_in_true_float32() -> None:
    """Inside, autocast, TF32 and bfloat16 are off; outside, all settings are as they were, after an error too."""
    backends = torch.backends
    settings = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    before = [s.fp32_precision for s in settings]
    outside = ["tf32", "tf32", "bf16", "bf16"]
    try:
        for setting, value in zip(settings, outside, strict=True):
            setting.fp32_precision = value
        with torch.autocast("cpu", torch.bfloat16), suppress(KeyError), inference_float32(CPU):
            assert [s.fp32_precision for s in settings] == ["ieee"] * 4
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            assert not torch.is_grad_enabled()
            raise KeyError
        assert [s.fp32_precision for s in settings] == outside
        assert torch.is_grad_enabled()
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
