"""Check the gradients of encoder, parameters and objective."""

from __future__ import annotations

import torch

from vqbench.conformance.comparison import differing, state
from vqbench.conformance.outcome import Check, Fail, Warn
from vqbench.conformance.quantizers.case import QuantizerCase, codes_exist, train_step


def encoder_learns(case: QuantizerCase) -> None:
    """The decoder's gradient reaches the features of every image through z_q.

    It is finite and not zero.
    """
    quantizer, z = case.build(), case.features().requires_grad_()
    torch.manual_seed(0)
    z_q = quantizer(z).z_q
    do = "estimate the gradient, for example z_q = z + (z_q - z).detach()"
    if not z_q.requires_grad:
        raise Fail("z_q carries no gradient", do)
    z_q.backward(torch.randn_like(z_q))
    if z.grad is None or not (z.grad.flatten(1).abs().sum(1) > 0).all():
        raise Fail("no gradient reaches the features of at least one image", do)
    if not z.grad.isfinite().all():
        raise Fail("the gradient at the features is not finite", "look for a division by zero in the backward pass")


def everything_learns(case: QuantizerCase) -> None:
    """Every parameter gets a finite gradient that is not zero.

    Without parameters, some buffer changes in training.
    """
    quantizer = case.build()
    before = state(quantizer)
    largest: dict[str, float] = {}
    for step in range(3):
        train_step(quantizer, case.features(16, seed=step), seed=step)
        for name, parameter in quantizer.named_parameters():
            if parameter.requires_grad:
                gradient = parameter.grad
                if gradient is not None and not gradient.isfinite().all():
                    raise Fail(f"the gradient of {name} is not finite", "look for a division by zero, or an overflow")
                size = float(gradient.abs().max()) if gradient is not None else 0.0
                largest[name] = max(largest.get(name, 0.0), size)
    without = [name for name, size in largest.items() if size == 0]
    if without:
        raise Fail(
            f"no gradient reaches {', '.join(without)} in three steps",
            "make the loss or z_q depend on it, or an nn.Buffer of it if forward changes it",
        )
    if not largest and not differing(before, state(quantizer)):
        raise Warn("nothing learns: no parameter, and no buffer changes; right only for a fixed grid, such as FSQ's")


def objective_is_a_loss(case: QuantizerCase) -> None:
    """``objective`` is a finite scalar that grows with error and own loss."""
    quantizer, z = case.build(), case.features()
    out = quantizer(z)
    out.loss = out.loss.detach().requires_grad_()
    for weight in (1.0, 10.0):
        error = torch.tensor(0.3, requires_grad=True)
        objective = quantizer.objective(error, out, pixels=z[0].numel(), weight=weight)
        if objective.shape != () or not objective.isfinite():
            raise Fail(f"the objective is {objective}", "return a finite scalar")
        if not objective.requires_grad:
            raise Fail("the objective carries no gradient", "return weight * error + out.loss, not its value")
        for name, term in {"the reconstruction error": error, "its own loss": out.loss}.items():
            [gradient] = torch.autograd.grad(objective, term, retain_graph=True, allow_unused=True)
            if gradient is None or not gradient.isfinite() or gradient <= 0:
                raise Fail(f"the objective does not grow with {name}", "add it with a positive factor")


CHECKS = (
    Check(encoder_learns, "yangdongchao/RSTnet#2"),
    Check(everything_learns, "showlab/Olaf-World#8", only_if=codes_exist),
    Check(objective_is_a_loss),
)
