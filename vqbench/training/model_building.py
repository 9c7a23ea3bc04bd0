"""Build the model of a run from its plugins; measure size and bit rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqbench import registry, spec
from vqbench.backbone import Autoencoder, Backbone
from vqbench.dataset import Dataset
from vqbench.quantizer import Quantizer
from vqbench.spec import PARTS, PluginSpec, RunSpec


def require_planned(run: RunSpec) -> None:
    """Raise ChangedPlugin where a plugin file of ``run`` was edited since.

    The run was planned with its earlier content.
    """
    for name in PARTS:
        part: PluginSpec = getattr(run, name)
        registry.require_same(f"{name}s", part.name, part.source)  # type: ignore[arg-type]  # the plural of a part is a kind


def build(run: RunSpec, dataset: Dataset) -> Autoencoder:
    """Build the untrained model of ``run``.

    All quantizers of a seed and data set start from the same backbone.
    """
    seeds = spec.seeds(run.seed, run.dataset.name)

    def create(kind: registry.Kind, part: PluginSpec, **fixed: Any) -> Any:
        torch.manual_seed(seeds(kind))
        return registry.load(kind, part.name)(**fixed, **part.args)

    return _joined(
        create("backbones", run.backbone, channels=dataset.channels, dim=run.quantizer.args["dim"]),
        create("quantizers", run.quantizer),
    )


def outline(run: RunSpec, channels: int) -> Autoencoder:
    """Build the modules of ``run`` with any weights, to load trained ones into.

    Neither data nor files of weights are needed. ``channels`` are those of the images.
    """
    backbone: type[Backbone] = registry.load("backbones", run.backbone.name)
    quantizer: type[Quantizer] = registry.load("quantizers", run.quantizer.name)
    return _joined(
        backbone.outline(channels=channels, dim=run.quantizer.args["dim"], **run.backbone.args),
        quantizer(**run.quantizer.args),
    )


def _joined(backbone: Backbone, quantizer: Quantizer) -> Autoencoder:
    """Join both to the model; channels last is faster, on CPUs as on GPUs."""
    model: Autoencoder = Autoencoder(backbone, quantizer).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads lack it
    return model


def kept_buffers(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copy the buffers that a checkpoint keeps, to compare them later.

    The copies are on the CPU.
    """
    kept = model.state_dict()
    return {name: buffer.detach().cpu().clone() for name, buffer in model.named_buffers() if name in kept}


def learned_state(model: torch.nn.Module, before: Mapping[str, Tensor]) -> int:
    """Count the numbers that training has set.

    Trained parameters, and buffers that changed, such as an EMA codebook.

    ``before`` are the :func:`kept_buffers` of the untrained model.
    """
    now = kept_buffers(model)
    changed = [name for name, buffer in now.items() if name not in before or not torch.equal(buffer, before[name])]
    return size(model) + sum(now[name].numel() for name in changed)


def rate(model: Autoencoder, dataset: Dataset, device: torch.device) -> dict[str, Any]:
    """Return the bits per image of a uniform code, and codebook size.

    Empty if nothing is quantized.
    """
    quantizer = model.quantizer
    if quantizer.depth == 0:
        return {}
    training = model.training
    model.eval()
    with torch.no_grad():
        blank = torch.zeros(1, dataset.channels, dataset.size, dataset.size, device=device)
        height, width = model.backbone.encode(blank).shape[-2:]
    model.train(training)
    return {"bits": height * width * quantizer.bits, "codes": quantizer.num_codes}


def planned_bits(run: RunSpec, dataset: Dataset) -> float | None:
    """Return the bits per image of a uniform code, before ``run`` is trained.

    None if nothing is quantized.
    """
    model = outline(run, dataset.channels).eval()
    with torch.no_grad():  # some quantizers learn the size of the map, and with it their bits, from an image
        model.quantize(torch.zeros(1, dataset.channels, dataset.size, dataset.size))
    return rate(model, dataset, torch.device("cpu")).get("bits")


def size(model: torch.nn.Module) -> int:
    """Count the parameters that are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
