"""A quantizer under test: how every check builds, feeds and trains it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqbench.errors import UsageError
from vqbench.quantizer import Quantizer, QuantizerOutput


@dataclass(frozen=True)
class Case:
    """One quantizer with one set of arguments, at a small budget."""

    name: str
    cls: type[Quantizer]
    args: Mapping[str, Any] = field(default_factory=dict)  # own arguments that differ from the defaults
    num_codes: int = 64
    dim: int = 8

    def build(self, seed: int = 0) -> Quantizer:
        """Build the quantizer in training mode, with weights drawn after ``seed``."""
        torch.manual_seed(seed)
        return self.cls(self.num_codes, self.dim, **self.args)

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

    @property
    def file(self) -> str:
        """The file that defines the class; empty if it was defined at a prompt."""
        try:
            return str(Path(inspect.getsourcefile(self.cls) or "").resolve())
        except TypeError:  # defined at a prompt
            return ""

    def to_dict(self) -> dict[str, Any]:
        """Return all that another process needs to build the same case."""
        return {
            "name": self.name,
            "module": self.cls.__module__,
            "class": self.cls.__qualname__,
            "file": self.file,
            "args": dict(self.args),
            "num_codes": self.num_codes,
            "dim": self.dim,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """Return the case that :meth:`to_dict` described, in this process or another."""
        quantizer: Any = _module(data["module"], data["file"])
        for name in data["class"].split("."):
            quantizer = getattr(quantizer, name)
        return cls(data["name"], quantizer, data["args"], data["num_codes"], data["dim"])


_files: dict[str, str] = {}  # modules that were loaded from a file here: name -> file


def _module(name: str, file: str) -> Any:
    """Import module ``name`` if it is ``file``, else load the file by that name."""
    if name not in _files:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the module exists, but one that it imports does not
        else:
            if module.__file__ and str(Path(module.__file__).resolve()) == file:
                return module
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{name}: no module and no file; write the quantizer in a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name], _files[name] = module, file
    spec.loader.exec_module(module)  # again for every job: another file may have had this name
    return module


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


def state(quantizer: Quantizer) -> dict[str, Any]:
    """Return a copy of the quantizer's ``state_dict``."""
    saved = quantizer.state_dict()
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in saved.items()}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the names of values that are not in both, or not equal bit for bit."""
    return [name for name in {**a, **b} if name not in a or name not in b or not same(a[name], b[name])]


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal bit for bit; NaN equals NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    return bool(a == b)


def outputs(out: QuantizerOutput) -> dict[str, Tensor]:
    """Return z_q, codes and loss of an output by name."""
    return {"z_q": out.z_q.detach(), "codes": out.codes, "loss": out.loss.detach()}
