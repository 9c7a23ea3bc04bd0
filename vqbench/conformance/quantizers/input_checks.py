"""Check small and odd inputs, memory layouts, precisions, GPU and compiling."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor

from vqbench.conformance.comparison import differing, state
from vqbench.conformance.outcome import Check, Fail, Skip, Warn
from vqbench.conformance.quantizers.case import QuantizerCase, evaluate, outputs, train_step


def small_batches(case: QuantizerCase) -> None:
    """A batch of one image, and fewer features than codes, give no NaN.

    In training and in evaluation.
    """
    for batch, height, width in ((1, 5, 4), (1, 2, 2), (2, 1, 1)):
        quantizer = case.build()
        z = case.features(batch, height, width)
        where = f"{batch} images of {height}x{width} features, for {quantizer.num_codes} codes"
        do = "draw with replacement, or repeat, if a batch has fewer features than codes; never divide by a zero count"
        try:
            steps = [train_step(quantizer, z, seed=seed) for seed in range(2)]
            out = evaluate(quantizer, z)
        except (Exception, SystemExit) as error:
            raise Fail(f"{where}: {type(error).__name__}: {str(error)[:200]}", do) from error
        values = [*state(quantizer).values(), *outputs(out).values(), *(step.objective for step in steps)]
        if any(isinstance(value, Tensor) and not value.isfinite().all() for value in values):
            raise Fail(f"{where}: the state or an output is not finite", do)


def odd_sizes(case: QuantizerCase) -> None:
    """Maps of any height and width work; codes have the same size."""
    for height, width in ((5, 3), (1, 7), (7, 1)):
        quantizer, z = case.trained(), case.features(3, height, width)
        out = train_step(quantizer, z, seed=5).out
        if out.codes.shape[1:3] != (height, width) or out.z_q.shape != z.shape:
            raise Fail(
                f"a map of {height}x{width} gives codes {tuple(out.codes.shape)} and z_q {tuple(out.z_q.shape)}",
                "take height and width from z, in this order",
            )


def memory_layout(case: QuantizerCase) -> None:
    """Channels-last and transposed maps give the results of contiguous copies.

    In training and in evaluation.
    """
    z = case.features(4, 5, 4)
    layouts = {
        "channels-last": z.to(memory_format=torch.channels_last),
        "transposed": z.transpose(2, 3).contiguous().transpose(2, 3),
        "strided": torch.stack([z, z], dim=-1)[..., 0],
    }
    wanted, step = evaluate(case.trained(), z), train_step(case.trained(), z, seed=5)
    for name, other in layouts.items():
        do = "use reshape in place of view, and permute before you flatten"
        try:
            out, trained = evaluate(case.trained(), other), train_step(case.trained(), other, seed=5)
        except RuntimeError as error:
            raise Fail(f"{name}: {str(error)[:200]}", do) from error
        if not torch.equal(out.codes, wanted.codes):
            raise Fail(f"{name} features get other codes than a contiguous copy", do)
        if not torch.allclose(out.z_q, wanted.z_q, rtol=1e-4, atol=1e-5):
            raise Fail(f"{name} features get another z_q than a contiguous copy", do)
        if not torch.allclose(trained.objective, step.objective, rtol=1e-3, atol=1e-5):
            raise Fail(f"{name} features train to another objective than a contiguous copy", do)


def bfloat16(case: QuantizerCase) -> None:
    """bfloat16 autocast changes no code, and the state stays float32."""
    quantizer, z = case.trained(), case.features(16, 8, 8).bfloat16()
    wanted = evaluate(quantizer, z.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = evaluate(quantizer, z)
        plain = evaluate(quantizer, z.float())
    do = "decorate forward with vqbench.functional.full_precision: distances of nearby codes cancel in half precision"
    for precision, codes in {"bfloat16": out.codes, "float32": plain.codes}.items():
        share = float((codes != wanted.codes).any(-1).float().mean()) if codes.numel() else 0.0
        if share > 0:
            raise Fail(f"under autocast {share:.1%} of {precision} features get another code than in float32", do)
    if out.z_q.dtype != z.dtype:
        raise Fail(f"z_q is {out.z_q.dtype} for a bfloat16 z", "return z_q in the type of z")
    before = {name: value.dtype for name, value in state(quantizer).items() if isinstance(value, Tensor)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = train_step(quantizer, z, seed=5)
    after = {name: value.dtype for name, value in state(quantizer).items() if isinstance(value, Tensor)}
    if before != after:
        raise Fail("the type of the state changes under autocast", do)
    if not step.objective.isfinite():
        raise Fail(f"the objective is {float(step.objective)} under autocast", do)


def gpu(case: QuantizerCase) -> None:
    """On a GPU, training and evaluation work as on a CPU.

    All outputs are on the device of z.
    """
    if not torch.cuda.is_available():
        raise Skip("no GPU here")
    quantizer, z = case.trained().cuda(), case.features(8, seed=7).cuda()
    with torch.random.fork_rng():
        step = train_step(quantizer, z, seed=5)
        if not step.objective.isfinite():
            raise Fail(f"the objective is {float(step.objective)} on a GPU", "compare with the CPU, step by step")
        if any(tensor.device != z.device for tensor in (step.out.z_q, step.out.codes, step.out.loss)):
            raise Fail("an output is not on the device of z", "create tensors with device=z.device")
        codes = evaluate(case.trained().cuda(), z).codes.cpu()
    share = float((codes != evaluate(case.trained(), z.cpu()).codes).float().mean()) if codes.numel() else 0.0
    if share > 0.01:
        raise Fail(f"{share:.1%} of the codes differ between GPU and CPU", "do the assignment in float32")


def compiles(case: QuantizerCase) -> None:
    """torch.compile traces training and evaluation as one graph each.

    The results are those of the plain form.
    """
    if breaks := _compiled(case, backend="aot_eager", fullgraph=True):
        if wrong := _compiled(case, backend="aot_eager", fullgraph=False):
            raise Fail(f"compiled, {wrong}", "change nothing in place that the backward pass needs")
        raise Warn(f"does not compile as one graph, which costs speed: {breaks}")
    if not (shutil.which("g++") or shutil.which("clang++")):
        raise Skip("traces as one graph and agrees, but generating code needs a C++ compiler")
    if wrong := _compiled(case, backend="inductor", fullgraph=True, options={"fallback_random": True}):
        raise Fail(f"with generated code, {wrong}", "change nothing in place that the backward pass needs")


def _compiled(case: QuantizerCase, **how: Any) -> str:
    """Return what differs between plain and compiled form, or fails; else nothing."""
    torch._dynamo.reset()
    plain, compiled = case.trained(), case.trained()
    forward = compiled.forward
    try:
        compiled.forward = torch.compile(forward, **how)  # type: ignore[method-assign]  # as torch.compile documents it
        steps = [train_step(each, case.features(seed=9), seed=9) for each in (plain, compiled)]
        outs = [evaluate(each, case.features(seed=7)) for each in (plain, compiled)]
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        torch._dynamo.reset()
    ends = [
        {**state(each), **outputs(out), "objective": step.objective.detach(), "gradient": step.z.grad}
        for each, out, step in zip((plain, compiled), outs, steps, strict=True)
    ]
    unequal = [
        name
        for name in differing(*ends)
        if not torch.allclose(ends[0][name].float(), ends[1][name].float(), rtol=1e-3, atol=1e-4)
    ]
    return f"{', '.join(unequal)} differ from the plain form" if unequal else ""


CHECKS = (
    Check(small_batches, "jishengpeng/WavTokenizer#82"),
    Check(odd_sizes),
    Check(memory_layout),
    Check(bfloat16, "lucidrains/vector-quantize-pytorch#114"),
    Check(gpu),
    Check(compiles, "lucidrains/vector-quantize-pytorch#247", slow=True),
)
