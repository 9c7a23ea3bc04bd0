"""Compare two quantizers step by step and name what differs first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vqbench.conformance.outcome import Result
from vqbench.conformance.quantizers.case import QuantizerCase
from vqbench.conformance.quantizers.differences import Step, describe, near_ties
from vqbench.conformance.quantizers.paired_steps import ROUNDING, PairedSteps
from vqbench.errors import VqbenchError

STEPS = 20
DRIFT = 1e-6  # allowed in a free run, in which rounding adds up, relative to a tensor's largest entry


@dataclass
class _Seen:
    """What the comparison found so far."""

    greatest: dict[str, float] = field(default_factory=dict)  # relative deviation of each value
    ties: int = 0  # positions at which rounding decides the code
    steps: int = 0


def compare(
    candidate: QuantizerCase,
    reference: QuantizerCase,
    names: Mapping[str, str],
    steps: int = STEPS,
    free_run: bool = False,
) -> list[Result]:
    """Train both side by side; return results up to the first difference.

    Both get the same inputs and random draws, in float64. Before each step, the reference's state is copied into the
    candidate, so that every step is a comparison of its own.

    Args:
        candidate: the quantizer under test.
        reference: the quantizer that it should be.
        names: the candidate's name of an entry of the state -> the reference's, where they differ.
        steps: training steps to compare.
        free_run: copy the state before the first step alone. Rounding then adds up, and the two may part at a near-tie.

    Raises UsageError if the states of the two cannot be mapped.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        pair = PairedSteps(reference, candidate, names)
        seen = _Seen()
        for step in range(steps):
            if step == 0 or not free_run:
                pair.align()
            before = {name: value.clone() for name, value in pair.reference.state_dict().items()}
            try:
                wanted, found = pair.take(step, step / steps)
            except VqbenchError:
                raise
            except Exception as error:  # the candidate may fail in any way, which is what is reported
                return [_fails(error, step)]
            moment = Step(pair, step, before, wanted, found)
            if ended := _compare_step(moment, seen, free_run):
                return [_names(pair), *_passed(seen), ended]
        return [_names(pair), *_passed(seen)]


def _compare_step(moment: Step, seen: _Seen, free_run: bool) -> Result | None:
    """Compare the values of one step; return a result that ends the comparison."""
    allowed = DRIFT if free_run else ROUNDING
    for name in [*moment.wanted]:
        if name == "random numbers":  # the values show whether another draw matters
            continue
        off = deviation(moment.found[name], moment.wanted[name])
        if off <= allowed:
            seen.greatest[name] = max(off, seen.greatest.get(name, 0.0))
            continue
        ties = near_ties(moment, name, allowed) if name.startswith("codes") else 0
        if ties and free_run:
            what = (
                f"the free run parts at step {moment.step + 1}: {describe(moment, name)[0]}; near-tie: rounding decides"
            )
            return Result(row_of(name), "WARN", what, "from here on, only steps with aligned states can be compared")
        if ties:
            seen.ties += ties
            break  # what follows from these codes differs as well; the next step is aligned anew
        what, do = describe(moment, name)
        return Result(row_of(name), "FAIL", f"step {moment.step + 1}, {what}", do)
    seen.steps += 1
    return None


def deviation(found: Tensor, wanted: Tensor) -> float:
    """Return the greatest difference relative to the largest entry.

    Of integers, the share of entries that differ; infinite for other shapes.
    """
    if found.shape != wanted.shape or found.is_floating_point() != wanted.is_floating_point():
        return float("inf")
    if not wanted.numel():
        return 0.0
    if not wanted.is_floating_point():
        return float((found != wanted).double().mean())
    if not torch.equal(found.isfinite(), wanted.isfinite()):
        return float("inf")
    gap = float((found.double() - wanted.double()).nan_to_num().abs().max())
    return gap / max(float(wanted.double().nan_to_num().abs().max()), 1e-12)


def row_of(name: str) -> str:
    """Return the row of the report that a value belongs to.

    >>> row_of("gradient of loss by codebook"), row_of("usage after forward"), row_of("z_q in evaluation")
    ('gradients', 'usage', 'evaluation')
    """
    if name.startswith("gradient of "):
        return "gradients"
    if name.endswith(" in evaluation"):
        return "evaluation"
    return name.partition(" after ")[0]


def _passed(seen: _Seen) -> list[Result]:
    rows: dict[str, float] = {}
    for name, off in seen.greatest.items():
        rows[row_of(name)] = max(off, rows.get(row_of(name), 0.0))
    results = []
    if seen.ties:
        what = f"{seen.ties} codes differ where rounding decides; the rest of these steps is not compared"
        results.append(Result("near-ties", "WARN", what))
    for row, off in rows.items():
        steps = f"{seen.steps} {'step' if seen.steps == 1 else 'steps'}"
        what = f"equal in {steps}" if off == 0 else f"equal to rounding in {steps}, {off:.0e} apart"
        if seen.steps:
            results.append(Result(row, "PASS", what))
    return results


def _names(pair: PairedSteps) -> Result:
    """Return which entries of the states are aligned."""
    mapped = pair.mapped
    alone = [
        f"{', '.join(names)} ({whose} only)"
        for whose, names in (("reference", mapped.reference_only), ("candidate", mapped.candidate_only))
        if names
    ]
    if alone:
        return Result(
            "state",
            "WARN",
            f"without a counterpart, not aligned: {'; '.join(alone)}",
            "if one has another name in the candidate: --map NAME=REFERENCE",
        )
    count = len(mapped.pairs)
    return Result("state", "PASS", f"aligned: {count} of {count} entries")


def _fails(error: Exception, step: int) -> Result:
    what = f"step {step + 1}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return Result("forward", "FAIL", what, "make forward work in float64: create tensors in the type of z")
