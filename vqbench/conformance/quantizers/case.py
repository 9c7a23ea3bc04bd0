"""A quantizer under test: how every check builds, feeds and trains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vqbench.conformance.case import Case
from vqbench.conformance.outcome import Skip
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.registry import Kind


@dataclass(frozen=True)
class QuantizerCase(Case):
    """One quantizer with one set of arguments, at a small budget."""

    num_codes: int = 64
    dim: int = 8

    kind: ClassVar[Kind] = "quantizers"

    @property
    def fixed(self) -> tuple[str, ...]:
        return ("num_codes", "dim")

    def absent(self) -> list[str]:
        return []  # suites need a default for each, which the checks see to

    def build(self, seed: int = 0) -> Quantizer:
        """Build the quantizer in training mode, with weights drawn after ``seed``."""
        torch.manual_seed(seed)
        quantizer: Quantizer = self.cls(self.num_codes, self.dim, **self.args)
        return quantizer

    def trained(self, steps: int = 3) -> Quantizer:
        """Build the quantizer and train it for some steps.

        Each call returns a new object in the same state.
        """
        quantizer = self.build()
        for step in range(steps):
            train_step(quantizer, self.features(seed=step), seed=step)
        return quantizer

    def features(self, batch: int = 4, height: int = 5, width: int = 4, seed: int = 1) -> Tensor:
        """Draw a feature map (batch, dim, height, width), normal around 0.5.

        It does not draw from the default generator.
        """
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, self.dim, height, width, generator=generator) + 0.5


def codes_exist(case: QuantizerCase) -> None:
    """Raise Skip for a quantizer without codes."""
    if case.build().depth == 0:
        raise Skip("has no codes (depth 0)")


@dataclass
class TrainStep:
    """One training step: input, output and objective, with their gradients."""

    z: Tensor
    out: QuantizerOutput
    objective: Tensor


def train_step(quantizer: Quantizer, z: Tensor, seed: int, progress: float = 0.3, move: bool = True) -> TrainStep:
    """Train one step as a recipe does, seeded, with a substitute for the error.

    The parameters ``move`` against their gradient, each by at most 0.01, so that no method diverges here.
    """
    z = z.detach().requires_grad_()
    quantizer.train()
    torch.manual_seed(seed)
    quantizer.anneal(progress)
    quantizer.zero_grad()
    out = quantizer(z)
    target = z.detach().roll(1, 1)  # another map than z, also for a method that returns z as it is
    error = (out.z_q.float() - target.float()).square().mean()
    objective = quantizer.objective(error, out, pixels=z[0].numel())
    objective.backward()
    if move:
        with torch.no_grad():
            for parameter in quantizer.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.01 * parameter.grad / (1 + parameter.grad.norm()))
    return TrainStep(z, out, objective)


@torch.no_grad()
def evaluate(quantizer: Quantizer, z: Tensor, seed: int = 0) -> QuantizerOutput:
    """Run one forward pass in evaluation."""
    torch.manual_seed(seed)
    return quantizer.eval()(z)


def outputs(out: QuantizerOutput) -> dict[str, Tensor]:
    """Return z_q, codes and loss of an output by name."""
    return {"z_q": out.z_q.detach(), "codes": out.codes, "loss": out.loss.detach()}
