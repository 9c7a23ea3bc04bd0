"""A quantizer under test, small: how it is built, fed and trained, alike in every check."""

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
    """One quantizer with one set of arguments, at a budget small enough for a processor."""

    name: str
    cls: type[Quantizer]
    args: Mapping[str, Any] = field(default_factory=dict)  # own arguments that differ from the defaults
    num_codes: int = 64
    dim: int = 8

    def build(self, seed: int = 0) -> Quantizer:
        """The quantizer in training mode, its weights drawn after ``seed``."""
        torch.manual_seed(seed)
        return self.cls(self.num_codes, self.dim, **self.args)

    def trained(self, steps: int = 3) -> Quantizer:
        """The quantizer after some steps of training: each call gives another object in the same state."""
        quantizer = self.build()
        for step in range(steps):
            train_step(quantizer, self.features(seed=step), seed=step)
        return quantizer

    def features(self, batch: int = 4, height: int = 5, width: int = 4, seed: int = 1) -> Tensor:
        """A feature map (batch, dim, height, width), normal around 0.5, drawn apart from the default generator."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, self.dim, height, width, generator=generator) + 0.5

    @property
    def file(self) -> str:
        """The file that the class is written in."""
        try:
            return str(Path(inspect.getsourcefile(self.cls) or "").resolve())
        except TypeError:  # made at a prompt
            return ""

    def to_dict(self) -> dict[str, Any]:
        """Whatever another process needs to have the same case; :meth:`from_dict` is the inverse."""
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
        found: Any = _module(data["module"], data["file"])
        for part in data["class"].split("."):
            found = getattr(found, part)
        return cls(data["name"], found, data["args"], data["num_codes"], data["dim"])


_files: dict[str, str] = {}  # modules that were made of a file here: name -> file


def _module(name: str, file: str) -> Any:
    """The module of that name where it is this file and can be imported, else the file as a module of that name."""
    if name not in _files:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # it is there, but something that it needs is not
        else:
            if module.__file__ and str(Path(module.__file__).resolve()) == file:
                return module
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{name}: no module and no file; write the quantizer in a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name], _files[name] = module, file
    spec.loader.exec_module(module)  # anew for every job: another file may have had this name
    return module


@dataclass
class TrainStep:
    """One step of training: its input, its output and its objective, all with their gradients."""

    z: Tensor
    out: QuantizerOutput
    objective: Tensor


def train_step(quantizer: Quantizer, z: Tensor, seed: int, progress: float = 0.3, move: bool = True) -> TrainStep:
    """One step as a recipe takes it, seeded, with a stand-in for the decoder's error.

    The parameters ``move`` against their gradient, each by at most 0.01, so that no method diverges here.
    """
    z = z.detach().requires_grad_()
    quantizer.train()
    torch.manual_seed(seed)
    quantizer.anneal(progress)
    quantizer.zero_grad()
    out = quantizer(z)
    target = z.detach().roll(1, 1)  # another map for every method, also for one that hands z on as it is
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
    """One pass in evaluation."""
    torch.manual_seed(seed)
    return quantizer.eval()(z)


def state(quantizer: Quantizer) -> dict[str, Any]:
    """A copy of all that the quantizer saves."""
    saved = quantizer.state_dict()
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in saved.items()}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The names of what is not in both, or not the same bit for bit."""
    return [name for name in {**a, **b} if name not in a or name not in b or not same(a[name], b[name])]


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal bit for bit; NaN equals NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    return bool(a == b)


def outputs(out: QuantizerOutput) -> dict[str, Tensor]:
    """What an output says, by name."""
    return {"z_q": out.z_q.detach(), "codes": out.codes, "loss": out.loss.detach()}
