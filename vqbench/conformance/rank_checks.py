"""Several devices: two real processes train a quantizer on half a batch each, held against one on the whole."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vqbench.conformance import two_ranks
from vqbench.conformance.case import Case, differing, evaluate, state, train_step
from vqbench.conformance.outcome import Check, Fail, Skip, Warn

STEPS = 3
IMAGES = 36  # 18 a rank, of 16 features: a number that no power of two divides


class Collectives(TorchDispatchMode):
    """Notes every exchange between ranks, whoever asks for it and by which name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            self.seen.append(str(func).split(".")[1].strip("_"))
        return func(*args, **(kwargs or {}))


def train(case: Case, rank: int = 0, world: int = 1) -> dict[str, dict[str, Any]]:
    """Three steps on this rank's part of each batch: what must be equal on all ranks, and what is this rank's own.

    ``state`` and, averaged over the ranks as a data-parallel wrapper does, ``gradients`` and ``objectives``; the
    ``codes`` of the own part; the ``collectives`` of one evaluation afterwards.
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
        out = evaluate(quantizer, case.features(2 + rank, 4, 4))  # unequal parts, as a test split leaves them
        if quantizer.depth:
            quantizer.decode(out.codes)
    result["collectives"] = dict.fromkeys(collectives.seen, True)
    return result


def _mean(value: Tensor, world: int) -> Tensor:
    total = value.clone()
    if world > 1:
        dist.all_reduce(total)
    return total / world


@functools.lru_cache(maxsize=1)  # three checks look at the same two processes
def _both(told: two_ranks.RankJob) -> list[dict[str, dict[str, Any]]]:
    return two_ranks.ranks().carry_out(told)


def prepare(case: Case) -> None:
    """Start the two processes, if ``case`` will need them: they come up while other checks are carried out."""
    try:
        _fit(case)
    except Skip:
        return
    two_ranks.ranks().start()


def _fit(case: Case) -> None:
    """Skips a quantizer that is declared unfit, or that no other process can import."""
    if not case.cls.distributed:
        raise Skip("declares distributed = False: it is not to be trained on several ranks")
    if not dist.is_available() or not dist.is_gloo_available():
        raise Skip("this torch has no gloo, through which processes on one machine talk")
    if "<locals>" in case.cls.__qualname__ or not case.file:
        raise Skip("the class is made inside a function or at a prompt, where no other process finds it")


def _ranks(case: Case) -> list[dict[str, dict[str, Any]]]:
    """What both ranks say."""
    _fit(case)
    try:
        return _both(two_ranks.RankJob.of(case))
    except two_ranks.Trouble as trouble:
        raise Fail(str(trouble), "let every rank take the same collectives in the same order") from trouble


def ranks_agree(case: Case) -> None:
    """After three steps on two ranks both hold the same codebook and statistics, bit for bit."""
    first, second = _ranks(case)
    names = differing(first["state"], second["state"]) + differing(first["gradients"], second["gradients"])
    if names:
        raise Fail(
            f"the ranks part: {', '.join(names)} differ",
            "add counts and sums up with vqbench.functional.all_sum, draw with its shared_* functions; "
            "or declare distributed = False",
        )


def two_ranks_are_one(case: Case) -> None:
    """Two ranks with half a batch each end where one process with the whole batch does."""
    first, second = _ranks(case)
    whole = train(case)
    if names := _apart(first["state"], whole["state"]):
        raise Fail(
            f"on two ranks {', '.join(names)} end elsewhere than in one process with the same images",
            "let statistics, anchors and restarts see the global batch: vqbench.functional has all_sum, all_gather, "
            "feature_uniform; or declare distributed = False",
        )
    for step, codes in whole["codes"].items():
        parts = torch.cat([first["codes"][step], second["codes"][step]])
        if codes.numel() and float((parts != codes).float().mean()) > 0.01:
            raise Fail(f"on two ranks other codes are taken in {step}", "key random draws by the place in the batch")
    names = _apart(first["objectives"], whole["objectives"]) or _apart(first["gradients"], whole["gradients"])
    if names:
        raise Warn(
            f"the loss of two ranks is not that of the global batch ({', '.join(names)}): some term compares or "
            "averages only the features of its own rank, or a random draw is not keyed by its place in the batch"
        )


def _apart(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """The names of what is further apart than rounding."""
    return [
        name
        for name in differing(ours, theirs)
        if name not in ours
        or name not in theirs
        or not torch.allclose(ours[name].double(), theirs[name].double(), rtol=1e-4, atol=1e-5)
    ]


def evaluation_asks_no_rank(case: Case) -> None:
    """Evaluation and ``decode`` exchange nothing between ranks, whose shares of the test split differ in size."""
    names = [*dict.fromkeys(name for rank in _ranks(case) for name in rank["collectives"])]
    if names:
        raise Fail(
            f"evaluation calls {', '.join(names)}",
            "exchange only while self.training: a rank that has fewer images left would wait for ever",
        )


CHECKS = (
    Check(ranks_agree, "lucidrains/vector-quantize-pytorch#17", coded=False),
    Check(two_ranks_are_one, "espnet/espnet#6284", coded=False),
    Check(evaluation_asks_no_rank, "lucidrains/vector-quantize-pytorch#25", coded=False),
)
