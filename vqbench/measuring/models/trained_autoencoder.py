"""Autoencoders of vqbench: of finished runs, and of checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vqbench.backbone import Autoencoder
from vqbench.evaluation.reconstructions import BATCH
from vqbench.measuring.models.image_model import ImageModel, weights_digest

RUN = "run of vqbench"  # the kind of model that a finished run has


def autoencoder_model(
    autoencoder: Autoencoder, name: str, kind: str, device: torch.device, channels: int, stamp: tuple[Any, ...] = ()
) -> ImageModel:
    """Return an autoencoder as a model, which returns its codes."""
    quantizer = autoencoder.quantizer
    module = autoencoder.to(device).eval()

    def compute(x: Tensor) -> tuple[Tensor, Tensor | None]:
        reconstructions, out = module(x)
        return reconstructions, out.codes if quantizer.depth else None

    return ImageModel(
        name,
        kind,
        compute,
        (*stamp, weights_digest(module)),
        device,
        declared=True,
        channels=channels,
        num_codes=quantizer.num_codes if quantizer.depth else None,
        bits=quantizer.bits if quantizer.depth else None,
    )


def run_model(autoencoder: Autoencoder, key: str, device: torch.device, channels: int, size: int) -> ImageModel:
    """Return the model of a finished run, in the batches that its evaluation has."""
    model = autoencoder_model(autoencoder, key, RUN, device, channels, ("run", key))
    return replace(model, size=size, most=BATCH)
