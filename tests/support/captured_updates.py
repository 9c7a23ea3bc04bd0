"""Short trainings of one quantizer whose updates are captured, computed one by one, or those of a plain Adam."""

from __future__ import annotations

from typing import Literal
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench import registry
from vqbench.conformance.quantizers.case import QuantizerCase
from vqbench.conformance.recipes.case import RecipeCase
from vqbench.quantizer import Quantizer
from vqbench.recipe import Recipe
from vqbench.training.capture import captured_update
from vqbench.training.capture.captured_update import ALIKE, UpdateCapture
from vqbench.training.engine import Engine
from vqbench.training.learning_rates import parameter_groups, set_rate

NEVER = 10**9  # updates that must be alike: none is captured
UPDATES, BATCH, IMAGES, RATE = 14, 4, 9, 1e-2
SMALLER = UPDATES - 2  # the update on a smaller batch
REFUSED = {
    "kmeans": "the host waits for the result of _local_scalar_dense",
    "lucidrains": "the host waits for the result of",
    "wasserstein_vq": "the host waits for the result of _linalg_eigh",
}


class Scaled(nn.Module):
    """A quantizer of features that are scaled by learned factors."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer, self.scale = quantizer, nn.Parameter(torch.ones(quantizer.dim, 1, 1))


def recipe(name: str = "autoencoder") -> Recipe:
    """Build a recipe with its usual arguments."""
    cls = registry.load("recipes", name)
    built: Recipe = cls(**RecipeCase.usual_args(cls))
    return built


def trained(
    cls: type[Quantizer], how: Literal["captured", "single", "plain"] = "captured"
) -> tuple[dict[str, Tensor], UpdateCapture]:
    """Train as recipes do; return the state after it, with sums of the terms, and what captured the updates.

    Args:
        cls: the quantizer, with its usual arguments.
        how: ``captured``, ``single``: the same updates without a graph, or ``plain``: by torch's Adam as it is.
    """
    own = QuantizerCase.usual_args(cls) if cls.__module__.startswith("vqbench.") else {}
    torch.manual_seed(0)
    model = Scaled(cls(16, 8, **own)).to("cuda").train()
    quantizer = model.quantizer
    capture = UpdateCapture(recipe(), quantizer, Engine("cuda"))
    groups = parameter_groups(model.parameters(), quantizer)
    adam = torch.optim.Adam(groups, lr=RATE) if how == "plain" else capture.adam(groups, RATE)
    images = torch.randn(IMAGES, 8, 4, 4).to("cuda")

    def compute(index: Tensor) -> Tensor:
        features = images[index]
        out = quantizer(features * model.scale)
        error = F.mse_loss(out.z_q, features)
        loss = quantizer.objective(error, out, 48, 2.0)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return torch.stack([loss.detach(), error.detach()])

    updates, sums = capture.update(compute, model, BATCH), torch.zeros(2, device="cuda")
    with mock.patch.object(captured_update, "ALIKE", ALIKE if how == "captured" else NEVER):
        for step in range(UPDATES):
            order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(step)).pin_memory()
            index = order.to("cuda", non_blocking=True)[: BATCH - (step == SMALLER)]
            torch.manual_seed(step)
            quantizer.anneal(step / UPDATES)
            set_rate(adam, RATE * (1 - step / UPDATES))
            sums += (compute if how == "plain" else updates)(index)
    state = {**model.state_dict(), "sums": sums}
    return {name: value.cpu() for name, value in state.items()}, capture


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Return the names of what is not equal bit by bit."""
    return [name for name in one if not torch.equal(one[name], other[name])]
