"""The shape of a run's codes, known before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vqbench import registry
from vqbench.spec import RunSpec


@dataclass(frozen=True)
class CodeShape:
    """``latent`` is the map of codes of one image, such as "16²×4"; ``codes`` the size of a codebook."""

    latent: str | None = None
    codes: int | None = None


def code_shape(run: RunSpec, channels: int, size: int) -> CodeShape:
    """From the run's backbone and quantizer, made without memory or arithmetic; empty where nothing is quantized."""
    import torch

    def make(kind: registry.Kind, name: str, **args: Any) -> Any:
        cls: Any = registry.load(kind, name)
        with registry.contained(kind, name):
            return cls.outline(**args) if kind == "backbones" else cls(**args)

    with torch.device("meta"), torch.no_grad():
        quantizer = make("quantizers", run.quantizer.name, **run.quantizer.args)
        if quantizer.depth == 0:
            return CodeShape()
        dim = run.quantizer.args["dim"]
        backbone = make("backbones", run.backbone.name, channels=channels, dim=dim, **run.backbone.args)
        if backbone.factor is not None:
            height = width = size // backbone.factor
        else:
            height, width = backbone.encode(torch.zeros(1, channels, size, size)).shape[-2:]
    side = f"{height}²" if height == width else f"{height}×{width}"
    return CodeShape(side + (f"×{quantizer.depth}" if quantizer.depth > 1 else ""), quantizer.num_codes)
