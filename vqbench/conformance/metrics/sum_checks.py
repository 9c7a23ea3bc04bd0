"""Check that a metric adds up: over batches, runs and ranks."""

from __future__ import annotations

import io
import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqbench.conformance import two_ranks
from vqbench.conformance.comparison import same
from vqbench.conformance.metrics.case import SEEDED, MetricCase, chosen, number, of_reconstructions, pieces
from vqbench.conformance.outcome import Check, Fail
from vqbench.metric import Batch, Metric

TOLERANCE = 1e-5  # relative; sums of float32 in another order differ by less


def batches_do_not_matter(case: MetricCase) -> None:
    """Any split into batches gives the same value."""
    batch = case.batch()
    count = len(batch.index)
    whole = case.value(batch)
    for sizes in ((count - 3, 3), (1,) * count):
        value = case.value(batch, sizes)
        if not close(value, whole):
            raise Fail(
                f"{count} images give {value:g} in batches of {' and '.join(map(str, dict.fromkeys(sizes)))}, and "
                f"{whole:g} in one",
                "keep sums and counts in state, and divide in compute()",
            )


def order_does_not_matter(case: MetricCase) -> None:
    """Images in another order give the same value."""
    batch = case.batch()
    order = torch.randperm(len(batch.index), generator=torch.Generator().manual_seed(3))
    first, second = case.value(batch), case.value(chosen(batch, order))
    if not close(first, second):
        raise Fail(
            f"{first:g} in one order of images, {second:g} in another",
            "let no image's share depend on those before it; find what you keep of an image by batch.index",
        )


def state_adds_up(case: MetricCase) -> None:
    """States of parts add up, key by key, to the state of the whole.

    They are tensors on the CPU with the same names and shapes without images, and can be saved.
    """
    batch = case.batch()
    whole, empty, first, second = (case.metric(batch) for _ in range(4))
    whole.update(batch)
    one, two = pieces(batch, (5, len(batch.index) - 5))
    first.update(one)
    second.update(two)
    for metric in (empty, first, second):
        _require_alike(whole.state, metric.state)
    total = case.metric(batch)
    for name in total.state:
        total.state[name] = empty.state[name] + _saved(first.state[name]) + second.state[name]
    merged, wanted = number(total.compute()), number(whole.compute())
    if not close(merged, wanted):
        raise Fail(
            f"the sum of two states gives {merged:g}, all images in one {wanted:g}",
            "keep only what adds up in state: sums, counts, histograms; take means and roots in compute()",
        )


def _require_alike(whole: dict[str, Tensor], part: dict[str, Tensor]) -> None:
    do = "set every name of state to zeros of a fixed shape in reset(), on the CPU: ranks without images add theirs too"
    if whole.keys() != part.keys():
        raise Fail(f"state has other names with other images: {', '.join(whole.keys() ^ part.keys())}", do)
    for name, value in part.items():
        if not isinstance(value, Tensor) or value.device.type != "cpu":
            raise Fail(f"state[{name!r}] is no tensor on the CPU but {type(value).__name__}", do)
        if value.shape != whole[name].shape or value.dtype != whole[name].dtype:
            raise Fail(f"state[{name!r}] has another shape or type with other images", do)


def _saved(value: Tensor) -> Tensor:
    """Return ``value`` as another process would read it."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    loaded: Tensor = torch.load(file, weights_only=True)
    return loaded


def every_run_starts_anew(case: MetricCase) -> None:
    """After ``start`` an object gives the value of a new one, bit for bit.

    That of the next run on the same images, with nothing left of the run before.
    """
    batch, other = case.batch(), case.batch(noise=0.3)
    used, new = case.metric(batch), case.metric(batch)
    used.update(other)
    used.compute()
    used.start(case.context(batch))
    values = []
    for metric in (used, new):
        metric.update(batch)
        values.append(number(metric.compute()))
    if not same(torch.tensor(values[0]), torch.tensor(values[1])):
        raise Fail(
            f"an object that measured another run before gives {values[0]:g}, a new one {values[1]:g}",
            "set all that update() changes to zeros in reset()",
        )


def value_repeats(case: MetricCase) -> None:
    """The same images give the same value, bit for bit.

    No random generator is advanced, and no image changed.
    """
    batch = case.batch()
    kept = [each.clone() for each in _tensors(batch)]
    before = torch.get_rng_state()
    first, second = _value(case, batch), _value(case, batch)
    if not same(torch.tensor(first), torch.tensor(second)):
        raise Fail(f"the same images give {first!r} and {second!r}", SEEDED)
    if not torch.equal(before, torch.get_rng_state()):
        raise Fail("torch's default generator was advanced", SEEDED)
    if not all(map(torch.equal, kept, _tensors(batch))):
        raise Fail("the batch is changed in place", "create new tensors: other metrics measure the same batch")


def _value(case: MetricCase, batch: Batch) -> float:
    """Return the value of ``batch``, which the metric gets as it is."""
    metric = case.metric(batch)
    metric.update(batch)
    return number(metric.compute())


def _tensors(batch: Batch) -> list[Tensor]:
    return [each for each in (batch.originals, batch.reconstructions, batch.codes, batch.index) if each is not None]


def on_rank(case: MetricCase, rank: int, world: int) -> dict[str, Any]:
    """Measure this rank's part of the images, and return the value of all.

    The parts differ in size, and states are added over the ranks.
    """
    batch = case.batch()
    sizes = (len(batch.index) - 3, 3)
    metric = case.metric(batch)
    metric.update(pieces(batch, sizes)[rank])
    _reduce(metric)
    return {"value": number(metric.compute()) if rank == 0 else 0.0}


def _reduce(metric: Metric) -> None:
    for name in sorted(metric.state):
        dist.all_reduce(metric.state[name])


def two_ranks_are_one(case: MetricCase) -> None:
    """Two real ranks with unequal parts of the images give the value of one."""
    two_ranks.require(case)
    value, wanted = two_ranks.both(on_rank, case)[0]["value"], case.value(case.batch())
    if not close(value, wanted):
        raise Fail(
            f"two ranks give {value:g}, one process {wanted:g}",
            "keep all that compute() needs in state: it is summed over the ranks, and nothing else is",
        )


def close(a: float, b: float) -> bool:
    """Return whether two values are equal up to rounding; NaN equals NaN."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-7)


CHECKS = tuple(
    Check(each, applies=of_reconstructions)
    for each in (
        batches_do_not_matter,
        order_does_not_matter,
        state_adds_up,
        every_run_starts_anew,
        value_repeats,
        two_ranks_are_one,
    )
)
