"""Check that evaluation repeats, changes nothing, and agrees with training."""

from __future__ import annotations

import torch

from vqbench.conformance.comparison import differing, state
from vqbench.conformance.outcome import Check, Fail, Warn
from vqbench.conformance.quantizers.case import QuantizerCase, codes_exist, evaluate, outputs, train_step
from vqbench.quantizer import Quantizer


def evaluation_repeats(case: QuantizerCase) -> None:
    """Evaluation depends on neither the seed nor earlier batches.

    Nor on inference mode.
    """
    quantizer, z = case.trained(), case.features(seed=7)
    first = outputs(evaluate(quantizer, z, seed=1))
    evaluate(quantizer, case.features(seed=8), seed=2)
    torch.manual_seed(3)
    generator = torch.get_rng_state()
    second = outputs(quantizer(z))
    drawn = not torch.equal(generator, torch.get_rng_state())
    with torch.inference_mode():
        third = outputs(quantizer(z))
    if names := [*differing(first, second), *differing(first, third)]:
        raise Fail(
            f"in evaluation, {', '.join(dict.fromkeys(names))} of the same features differ from call to call",
            "take the most probable code if not self.training, and draw nothing",
        )
    if drawn:
        raise Warn("evaluation draws random numbers, though its answer does not depend on them")


def evaluation_changes_nothing(case: QuantizerCase) -> None:
    """Evaluation changes neither the state nor the next training step."""
    visited, plain = case.trained(), case.trained()
    before = state(visited)
    evaluate(visited, case.features(seed=7))
    with torch.no_grad():
        visited.decode(torch.zeros(1, 2, 2, visited.depth, dtype=torch.int64))
    if names := differing(before, state(visited)):
        raise Fail(f"evaluation changes {', '.join(names)}", "change codebooks and statistics only while self.training")
    after = [outputs(train_step(each, case.features(seed=9), seed=9).out) for each in (visited, plain)]
    names = [*differing(*after), *differing(state(visited), state(plain))]
    if names:
        raise Fail(
            f"after an evaluation the next training step has another {', '.join(dict.fromkeys(names))}",
            "keep on the object only what training changes",
        )


def training_agrees(case: QuantizerCase) -> None:
    """In the same state, training and evaluation give equal codes and z_q."""
    z = case.features(8, seed=7)
    wanted = outputs(evaluate(case.trained(), z))
    torch.manual_seed(1)
    first = outputs(case.trained().train()(z))
    if not differing({"z_q": first["z_q"], "codes": first["codes"]}, {"z_q": wanted["z_q"], "codes": wanted["codes"]}):
        return
    share = float((first["codes"] != wanted["codes"]).any(-1).float().mean())
    if share == 0 and torch.allclose(first["z_q"], wanted["z_q"], rtol=1e-4, atol=1e-5):
        return  # the same but for the rounding of a gradient estimator
    seen = f"training and evaluation choose different codes at {share:.0%} of the positions"
    if share == 0:
        seen = "training and evaluation give different z_q for the same codes"
    other = case.trained().train()
    torch.manual_seed(2)
    if differing(first, outputs(other(z))):
        raise Warn(f"{seen}: training draws at random, evaluation takes the most probable codes")
    part = case.trained().train()
    torch.manual_seed(1)
    if not torch.allclose(part(z[:4]).z_q, first["z_q"][:4], rtol=1e-4, atol=1e-5):
        raise Warn(f"{seen}: in training an image's result depends on the rest of its batch")
    if torch.allclose(at_its_end(case).train()(z).z_q, evaluate(at_its_end(case), z).z_q, rtol=1e-4, atol=1e-5):
        raise Warn(f"{seen} until its schedule ends; at the end of a training they agree")
    raise Fail(seen, "assign features alike in both; the evaluated method must be the trained one")


def at_its_end(case: QuantizerCase) -> Quantizer:
    """Return the quantizer after the last step of its schedule."""
    quantizer = case.trained()
    train_step(quantizer, case.features(8, seed=6), seed=3, progress=1.0)
    return quantizer


def batch_order(case: QuantizerCase) -> None:
    """In evaluation the codes of an image depend on that image alone.

    Neither on its place nor on the rest of the batch.
    """
    quantizer, z = case.trained(), case.features(8, seed=7)
    order = torch.tensor([3, 0, 7, 5, 1, 6, 2, 4])
    whole, mixed = evaluate(quantizer, z), evaluate(quantizer, z[order])
    alone = torch.cat([evaluate(quantizer, image[None]).codes for image in z])
    others = float((alone != whole.codes).float().mean())
    if quantizer.batch_dependent:
        raise Warn(
            f"declares batch_dependent: in evaluation, {others:.0%} of the codes of an image alone are others than in "
            "a batch; tables mark its rows"
        )
    do = "use no statistic of the batch; or declare batch_dependent = True, which tables mark"
    if not torch.equal(whole.codes[order], mixed.codes):
        raise Fail("in evaluation, images in another order get other codes", do)
    if others > 0.01:  # ties may break differently in a product of another size
        raise Fail("in evaluation, an image alone gets other codes than in a batch", do)


CHECKS = (
    Check(evaluation_repeats),
    Check(evaluation_changes_nothing, "lucidrains/vector-quantize-pytorch#61", only_if=codes_exist),
    Check(training_agrees, "lucidrains/vector-quantize-pytorch#162"),
    Check(batch_order, only_if=codes_exist),
)
