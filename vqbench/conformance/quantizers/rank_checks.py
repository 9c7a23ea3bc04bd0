"""Check two ranks with half a batch each against one process with all of it.

The ranks are two real processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vqbench.conformance import two_ranks
from vqbench.conformance.comparison import apart, differing, state
from vqbench.conformance.outcome import Check, Fail, Skip, Warn
from vqbench.conformance.quantizers.case import QuantizerCase, evaluate, train_step

STEPS = 3
IMAGES = 36  # 18 per rank, of 16 features each: no power of two


class Collectives(TorchDispatchMode):
    """Records every collective of torch.distributed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            self.seen.append(str(func).split(".")[1].strip("_"))
        return func(*args, **(kwargs or {}))


def train(case: QuantizerCase, rank: int = 0, world: int = 1) -> dict[str, dict[str, Any]]:
    """Train three steps on this rank's part of each batch, and evaluate once.

    Return ``state``; ``gradients`` and ``objectives``, averaged over the ranks as a data-parallel wrapper does; the
    ``codes`` of this rank's part; and the ``collectives`` of the evaluation.
    """
    quantizer = case.build()
    result: dict[str, dict[str, Any]] = {"gradients": {}, "objectives": {}, "codes": {}}
    for step in range(STEPS):
        batch = case.features(IMAGES, 4, 4, seed=step)
        taken = train_step(quantizer, batch.chunk(world)[rank], seed=step, move=False)
        result["objectives"][f"step {step + 1}"] = _mean(taken.objective.detach(), world)
        result["codes"][f"step {step + 1}"] = taken.out.codes
        for name, parameter in quantizer.named_parameters():
            if parameter.grad is not None:
                result["gradients"][f"{name}, step {step + 1}"] = _mean(parameter.grad, world)
    result["state"] = state(quantizer)
    with Collectives() as collectives:
        out = evaluate(quantizer, case.features(2 + rank, 4, 4))  # unequal parts, as in a test split
        if quantizer.depth:
            quantizer.decode(out.codes)
    result["collectives"] = dict.fromkeys(collectives.seen, True)
    return result


def _mean(value: Tensor, world: int) -> Tensor:
    total = value.clone()
    if world > 1:
        dist.all_reduce(total)
    return total / world


def prepare(case: QuantizerCase) -> None:
    """Start the two processes if ``case`` will need them.

    They start while other checks run.
    """
    try:
        _require_distributed(case)
    except Skip:
        return
    two_ranks.ranks().start()


def _require_distributed(case: QuantizerCase) -> None:
    """Raise Skip for a quantizer that two processes cannot train."""
    if not case.cls.distributed:
        raise Skip("declares distributed = False: it cannot be trained on several ranks")
    two_ranks.require(case)


def _ranks(case: QuantizerCase) -> list[dict[str, dict[str, Any]]]:
    """Return the results of both ranks."""
    _require_distributed(case)
    return two_ranks.both(train, case)


def ranks_agree(case: QuantizerCase) -> None:
    """After three steps both ranks have equal codebooks, bit for bit.

    And equal statistics.
    """
    first, second = _ranks(case)
    names = differing(first["state"], second["state"]) + differing(first["gradients"], second["gradients"])
    if names:
        raise Fail(
            f"ranks diverged: {', '.join(names)} differ",
            "add up counts and sums with vqbench.functional.all_sum, draw with its shared_* functions; "
            "or declare distributed = False",
        )


def two_ranks_are_one(case: QuantizerCase) -> None:
    """Two ranks with half a batch each end where one process does.

    That process gets the whole batch.
    """
    first, second = _ranks(case)
    whole = train(case)
    if names := apart(first["state"], whole["state"]):
        raise Fail(
            f"two ranks end with other {', '.join(names)} than one process with the same images",
            "compute statistics, anchors and restarts over the global batch, with vqbench.functional's all_sum, "
            "all_gather and feature_uniform; or declare distributed = False",
        )
    for step, codes in whole["codes"].items():
        parts = torch.cat([first["codes"][step], second["codes"][step]])
        if codes.numel() and float((parts != codes).float().mean()) > 0.01:
            raise Fail(f"two ranks choose other codes in {step}", "key random draws by the place in the batch")
    names = apart(first["objectives"], whole["objectives"]) or apart(first["gradients"], whole["gradients"])
    if names:
        raise Warn(
            f"the loss of two ranks is not that of the global batch ({', '.join(names)}): some term compares or "
            "averages only the features of its own rank, or a random draw is not keyed by its place in the batch"
        )


def evaluation_is_local(case: QuantizerCase) -> None:
    """Evaluation and ``decode`` exchange nothing between ranks.

    The ranks' parts of the test split differ in size.
    """
    names = [*dict.fromkeys(name for rank in _ranks(case) for name in rank["collectives"])]
    if names:
        raise Fail(
            f"evaluation calls {', '.join(names)}",
            "exchange only while self.training: a rank with fewer images left never joins",
        )


CHECKS = (
    Check(ranks_agree, "lucidrains/vector-quantize-pytorch#17"),
    Check(two_ranks_are_one, "espnet/espnet#6284"),
    Check(evaluation_is_local, "lucidrains/vector-quantize-pytorch#25"),
)
