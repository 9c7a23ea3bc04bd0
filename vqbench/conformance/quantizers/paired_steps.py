"""Train two quantizers side by side on the same inputs, in float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from vqbench.conformance.quantizers.case import QuantizerCase, evaluate
from vqbench.errors import UsageError, nearest
from vqbench.quantizer import Quantizer

RATE = 1e-3  # of Adam, which both have
ROUNDING = 1e-9  # relative to a tensor's largest entry; one step in float64 differs by some 1e-13


@dataclass(frozen=True)
class StateMap:
    """Which entry of the candidate's state stands for which of the reference's."""

    pairs: dict[str, str]  # the reference's name -> the candidate's
    reference_only: tuple[str, ...]
    candidate_only: tuple[str, ...]


class PairedSteps:
    """A reference and a candidate that take the same training steps.

    Args:
        reference: the quantizer to be equal to.
        candidate: the quantizer under test.
        names: the candidate's name of an entry of the state -> the reference's, where they differ.

    Raises UsageError for a name that the state lacks, for shapes that do not fit, and for an entry that has another
    name in the candidate.
    """

    def __init__(self, reference: QuantizerCase, candidate: QuantizerCase, names: Mapping[str, str]) -> None:
        self.case = reference
        with float64():
            self.reference, self.candidate = reference.build().double(), candidate.build().double()
        self.mapped = map_states(self.reference.state_dict(), self.candidate.state_dict(), names)
        self.optimizers = {each: _adam(each) for each in (self.reference, self.candidate)}

    @torch.no_grad()
    def align(self) -> None:
        """Copy the reference's state, the optimizer's too, into the candidate."""
        source, target = self.reference.state_dict(), self.candidate.state_dict()
        parameters = [dict(each.named_parameters()) for each in (self.reference, self.candidate)]
        moments = [self.optimizers[each].state for each in (self.reference, self.candidate)]
        for name, own in self.mapped.pairs.items():
            target[own].copy_(source[name])
            if name in parameters[0] and own in parameters[1] and parameters[0][name] in moments[0]:
                entry = moments[0][parameters[0][name]]
                moments[1][parameters[1][own]] = {key: value.clone() for key, value in entry.items()}

    def features(self, step: int) -> Tensor:
        """Return the feature map (4, dim, 5, 4) of a step."""
        return self.case.features(seed=step).double()

    def take(self, step: int, progress: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Take one step with both and return their values by name, reference first.

        The order of the names is that in which the values are computed.
        """
        z = self.features(step)
        own = {name: name for name in self.mapped.pairs}
        wanted = self._values(self.reference, own, z, step, progress)
        return wanted, self._values(self.candidate, self.mapped.pairs, z, step, progress)

    def _values(
        self, quantizer: Quantizer, names: Mapping[str, str], z: Tensor, seed: int, progress: float
    ) -> dict[str, Tensor]:
        """Train one step, and return all that it computes under the reference's names."""
        z = z.detach().clone().requires_grad_()
        optimizer = self.optimizers[quantizer]
        with float64():
            evaluated = evaluate(quantizer, z, seed)  # before the step, with the state that both have
            torch.manual_seed(seed)
            quantizer.train().anneal(progress)
            out = quantizer(z)
            drawn = torch.get_rng_state()
            target = z.detach().roll(1, 1)  # another map than z, also for a method that returns z as it is
            objective = quantizer.objective((out.z_q - target).square().mean(), out, pixels=z[0].numel())
            values = {"codes": out.codes, "z_q": out.z_q, "loss": out.loss, "objective": objective}
            state = quantizer.state_dict(keep_vars=True)
            learnt = {name: state[own] for name, own in names.items() if state[own].requires_grad}
            upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=z.dtype)
            for what, by in (("loss", out.loss), ("z_q", out.z_q), ("objective", objective)):
                weights = upstream if what == "z_q" else None
                found = _gradients(by, {"z": z, **learnt}, weights)
                values |= {f"gradient of {what} by {name}": gradient for name, gradient in found.items()}
            ordered = sorted(
                names, key=lambda name: state[names[name]].numel()
            )  # statistics before codes that use them
            values |= {f"{name} after forward": state[names[name]].detach().clone() for name in ordered}
            if objective.requires_grad:
                optimizer.zero_grad()
                objective.backward()
                optimizer.step()
            values |= {f"{name} after the optimizer": state[names[name]].detach().clone() for name in ordered}
            values |= {"codes in evaluation": evaluated.codes, "z_q in evaluation": evaluated.z_q}
            values["random numbers"] = drawn
        return {name: value.detach() for name, value in values.items()}


@contextmanager
def float64() -> Iterator[None]:
    """Create floating-point tensors in float64 within this context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _adam(quantizer: Quantizer) -> torch.optim.Optimizer:
    learnt = [parameter for parameter in quantizer.parameters() if parameter.requires_grad]
    return torch.optim.Adam(learnt or [torch.zeros(1, requires_grad=True)], RATE)


def _gradients(of: Tensor, by: Mapping[str, Tensor], upstream: Tensor | None) -> dict[str, Tensor]:
    """Return the gradients of ``of``, zero where none arrives."""
    found: Sequence[Tensor | None] = [None] * len(by)
    if of.requires_grad:
        found = torch.autograd.grad(of, list(by.values()), upstream, retain_graph=True, allow_unused=True)
    pairs = zip(by.items(), found, strict=True)
    return {name: torch.zeros_like(value) if each is None else each for (name, value), each in pairs}


def map_states(reference: Mapping[str, Tensor], candidate: Mapping[str, Tensor], names: Mapping[str, str]) -> StateMap:
    """Pair the entries of two states by ``names``, or by equal names.

    ``names`` maps the candidate's to the reference's.

    Raises UsageError for unknown names, other shapes, and an entry without a partner although one of its shape is left.
    """
    for own, name in names.items():
        if own not in candidate:
            raise UsageError(f"--map {own}={name}: the candidate has no {own!r}; {nearest(own, candidate)}")
        if name not in reference:
            raise UsageError(f"--map {own}={name}: the reference has no {name!r}; {nearest(name, reference)}")
    given = {name: own for own, name in names.items()}
    equal = {name: name for name in reference if name in candidate and name not in given and name not in names}
    pairs = {name: (given | equal)[name] for name in reference if name in given or name in equal}
    for name, own in pairs.items():
        if reference[name].shape != candidate[own].shape:
            shapes = f"{tuple(candidate[own].shape)}, not {tuple(reference[name].shape)}"
            raise UsageError(f"{own} of the candidate has shape {shapes} as {name} of the reference; map it by --map")
    left = [own for own in candidate if own not in pairs.values()]
    lacking = [name for name in reference if name not in pairs]
    for name in lacking:
        fitting = [own for own in left if reference[name].ndim and candidate[own].shape == reference[name].shape]
        if fitting:
            maps = " or ".join(f"--map {own}={name}" for own in fitting)
            raise UsageError(
                f"the candidate has no {name!r}, but an entry of its shape under another name: give {maps}"
            )
    return StateMap(pairs, tuple(lacking), tuple(left))
