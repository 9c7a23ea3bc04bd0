"""Check constructor, outputs, codes and bits against the contract."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vqbench.conformance.declarations import require_arguments, require_documented
from vqbench.conformance.outcome import Check, Fail, Warn
from vqbench.conformance.quantizers.case import QuantizerCase, codes_exist, evaluate, train_step
from vqbench.errors import RunError
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.training.learning_rates import quantizer_rates


def constructor(case: QuantizerCase) -> None:
    """The budget comes first; own arguments have annotation and default.

    The class has a paper and a docstring.

    Every argument is part of a run's key, which ``**options`` and values without a plain type cannot be.
    """
    require_arguments(case, ("num_codes", "dim"))
    require_documented(case, "paper")


def budget(case: QuantizerCase) -> None:
    """The quantizer has the number of codes and the dimension of the budget."""
    quantizer = case.build()
    if quantizer.dim != case.dim:
        raise Fail(f"dim is {quantizer.dim} instead of {case.dim}", "pass num_codes and dim to super()")
    if type(quantizer.depth) is not int or quantizer.depth < 0:
        raise Fail(f"depth is {quantizer.depth!r}", "pass the number of codes per position to super().__init__")
    if type(quantizer.num_codes) is not int or not 1 <= quantizer.num_codes <= case.num_codes:
        raise Fail(
            f"num_codes is {quantizer.num_codes!r} instead of {case.num_codes}",
            "keep to the budget, or every comparison is with a larger codebook",
        )
    if quantizer.num_codes < case.num_codes:
        raise Warn(f"has {quantizer.num_codes} codes instead of {case.num_codes}")


def shapes(case: QuantizerCase) -> None:
    """z_q has shape and type of z, codes are int64 (B, H, W, depth).

    The loss and all logs are finite scalars.
    """
    z = case.features()
    quantizer = case.build()
    for mode, out in {"training": quantizer(z), "evaluation": evaluate(quantizer, z)}.items():
        _shaped(mode, quantizer, z, out)


def _shaped(mode: str, quantizer: Quantizer, z: Tensor, out: QuantizerOutput) -> None:
    if not isinstance(out, QuantizerOutput):
        raise Fail(f"in {mode}, forward returns {type(out).__name__}", "return a QuantizerOutput(z_q, codes, loss)")
    if (out.z_q.shape, out.z_q.dtype) != (z.shape, z.dtype):
        raise Fail(f"in {mode}, z_q is {_kind(out.z_q)} for a z of {_kind(z)}", "return z_q in the shape and type of z")
    shape = (z.shape[0], *z.shape[2:], quantizer.depth)
    if out.codes.shape != shape or out.codes.dtype != torch.int64:
        raise Fail(f"in {mode}, codes are {_kind(out.codes)}", f"return them as int64 (B, H, W, depth), here {shape}")
    for name, scalar in {"loss": out.loss, **out.logs}.items():
        if not isinstance(scalar, Tensor) or scalar.shape != () or not scalar.isfinite():
            raise Fail(f"in {mode}, {name} is {_kind(scalar)}: {scalar}", "make it a finite scalar tensor")
    if not out.loss.is_floating_point():
        raise Fail(f"in {mode}, the loss is {out.loss.dtype}", "make it a floating-point scalar")
    if not out.z_q.isfinite().all():
        raise Fail(f"in {mode}, z_q is not finite", "look for a division by zero, or a logarithm of zero")


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"not a tensor but {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def code_range(case: QuantizerCase) -> None:
    """Every code lies in [0, num_codes), for features of any size.

    In training and in evaluation.
    """
    for scale in (1.0, 1e-3, 1e2, 0.0):
        quantizer, z = case.build(), scale * case.features(16)
        for mode, out in {"training": quantizer(z), "evaluation": evaluate(quantizer, z)}.items():
            low, high = int(out.codes.min()), int(out.codes.max())
            if low < 0 or high >= quantizer.num_codes:
                raise Fail(
                    f"in {mode}, codes range from {low} to {high}, but num_codes is {quantizer.num_codes}",
                    "number the codes from 0; a code of many parts is one number, or one number each of `depth`",
                )
            if not out.z_q.isfinite().all() or not out.loss.isfinite():
                raise Fail(
                    f"in {mode}, features of size {scale:g} give a z_q or a loss that is not finite",
                    "keep norms away from zero before dividing, and exponents away from overflow",
                )


def decode_inverts_codes(case: QuantizerCase) -> None:
    """In evaluation z_q equals ``decode`` of the codes.

    Before and after training.
    """
    for steps in (0, 3):
        quantizer, z = case.trained(steps), case.features(16)
        out = evaluate(quantizer, z)
        decoded = quantizer.decode(out.codes).detach()
        if decoded.shape != out.z_q.shape or not torch.allclose(decoded, out.z_q, rtol=1e-4, atol=1e-5):
            gap = (decoded - out.z_q).abs().max() if decoded.shape == out.z_q.shape else math.inf
            raise Fail(
                f"after {steps} steps z_q differs from decode(codes) by up to {float(gap):.2g}",
                "return decode(codes) in evaluation: a second stage has nothing but the codes",
            )
        if not torch.equal(decoded, out.z_q):
            raise Warn(f"z_q equals decode(codes) up to rounding ({float((decoded - out.z_q).abs().max()):.1g}) only")


def true_bits(case: QuantizerCase) -> None:
    """``decode`` accepts every code; ``bits`` is what one position costs.

    That is depth · log2 num_codes, or less if positions share codes, as in coarse scales: then the cost of
    the codes that differ.
    """
    quantizer = case.trained().eval()
    codes = torch.arange(quantizer.num_codes).view(1, 1, -1, 1).expand(1, 2, -1, quantizer.depth)
    vectors = quantizer.decode(codes)
    if vectors.shape != (1, quantizer.dim, 2, quantizer.num_codes) or not vectors.isfinite().all():
        raise Fail(
            f"decode returns {_kind(vectors)} for the codes 0 to {quantizer.num_codes - 1}, or not all are finite",
            "make decode accept every code below num_codes, or lower num_codes",
        )
    most = quantizer.depth * math.log2(quantizer.num_codes)
    if not 0 <= quantizer.bits <= most + 1e-6:
        raise Fail(f"bits is {quantizer.bits:g}, but {most:g} name all codes", "do not override bits, or correct it")
    if quantizer.bits < most - 1e-6:
        maps = torch.cat([evaluate(quantizer, case.features(16, 4, 4, seed=seed)).codes for seed in range(4)])
        distinct = [
            len(level.flatten(1).unique(dim=1).T) for level in maps.unbind(-1)
        ]  # positions that differ, per level
        cost = sum(distinct) / maps[0, ..., 0].numel() * math.log2(quantizer.num_codes)
        if quantizer.bits < cost - 1e-6:
            raise Fail(
                f"bits is {quantizer.bits:g}, but the codes that differ cost {cost:g} per position",
                "count every code that a decoder needs: depth · log2 num_codes, less what positions share",
            )


def annealing(case: QuantizerCase) -> None:
    """``anneal`` accepts every progress in [0, 1], also the same one again."""
    quantizer = case.build()
    for step, progress in enumerate((0.0, 0.5, 0.5, 1.0)):
        outcome = train_step(quantizer, case.features(seed=step), seed=step, progress=progress)
        if not outcome.objective.isfinite():
            raise Fail(f"the objective is {float(outcome.objective)} at progress {progress}", "bound the schedule")


def own_rates(case: QuantizerCase) -> None:
    """Each learning rate of its own is positive, and that of a parameter."""
    try:
        quantizer_rates(case.build())
    except RunError as error:
        raise Fail(str(error), "return {name of a parameter: rate} from learning_rates") from error


CHECKS = (
    Check(constructor, "CompVis/taming-transformers#267"),
    Check(budget),
    Check(shapes),
    Check(code_range, only_if=codes_exist),
    Check(decode_inverts_codes, only_if=codes_exist),
    Check(true_bits, only_if=codes_exist),
    Check(annealing),
    Check(own_rates),
)
