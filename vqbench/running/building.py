"""The model of a run, from its parts."""

from __future__ import annotations

from typing import Any

import torch

from vqbench import registry, seeding
from vqbench.dataset import Dataset
from vqbench.model import Autoencoder
from vqbench.spec import PARTS, Part, RunSpec


def require_planned(run: RunSpec) -> None:
    """Raises ChangedPlugin where a plugin of ``run`` is a file that was edited since the run got its key."""
    for name in PARTS:
        part: Part = getattr(run, name)
        registry.require_same(f"{name}s", part.name, part.source)  # type: ignore[arg-type]


def build(run: RunSpec, dataset: Dataset) -> Autoencoder:
    """The untrained model of ``run``. All quantizers of a seed and data set start from the same backbone."""
    seeds = seeding.seeds(run.seed, run.dataset.name)

    def make(kind: registry.Kind, part: Part, **filled: Any) -> Any:
        torch.manual_seed(seeds(kind))
        return registry.load(kind, part.name)(**filled, **part.args)

    model = Autoencoder(
        make("backbones", run.backbone, channels=dataset.channels, dim=run.quantizer.args["dim"]),
        make("quantizers", run.quantizer),
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster, on CPUs as on GPUs


def size(model: torch.nn.Module) -> int:
    """Parameters that are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
