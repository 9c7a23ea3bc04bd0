"""Evaluate metrics under many settings in one pass.

Each preparation of larger originals takes a pass of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vqbench import registry
from vqbench.evaluation.explaining.protocol_differences import Number
from vqbench.evaluation.explaining.settings import Conditions
from vqbench.images import as_measured
from vqbench.metric import Batch, Context, Metric
from vqbench.protocol import MeasureProtocol

Stream = Callable[[str], Iterable[tuple[Tensor, Tensor]]]
"""Preparation of originals -> batches of originals and reconstructions, (B, C, H, W) in [-1, 1]."""


@torch.no_grad()
def values_under(
    wanted: Mapping[Conditions, Sequence[str]],
    stream: Stream,
    device: torch.device,
    on_progress: Callable[[int], None] = lambda images: None,
) -> dict[Conditions, dict[str, Number]]:
    """Measure pairs of images under all ``wanted`` conditions.

    Args:
        wanted: Conditions -> names of metrics without codes.
        stream: Yields the same pairs in the same order for every preparation.
        device: Where metrics compute.
        on_progress: Receives the images done in all passes so far; may raise Interrupted.

    Returns:
        Conditions -> metric -> value.
    """
    metrics = {under: {name: _started(name, under, device) for name in names} for under, names in wanted.items()}
    done = 0
    for preparation in dict.fromkeys(under.originals for under in wanted):
        alike = _prepared_alike([under for under in wanted if under.originals == preparation])
        start = 0
        for x, y in stream(preparation):
            index = torch.arange(start, start + len(x))
            for group in alike:
                originals, reconstructions = (as_measured(each.to(device), group[0]) for each in (x, y))
                batch = Batch(originals, reconstructions, codes=None, index=index)
                for metric in (metric for under in group for metric in metrics[under].values()):
                    metric.update(batch)
            start += len(x)
            done += len(x)
            on_progress(done)
    return {under: {name: metric.compute() for name, metric in of.items()} for under, of in metrics.items()}


def passes(wanted: Iterable[MeasureProtocol]) -> int:
    """Return how often the images are read."""
    return len({under.originals for under in wanted if isinstance(under, Conditions)})


def _prepared_alike(conditions: Sequence[Conditions]) -> list[list[Conditions]]:
    """Group conditions whose metrics get the same images."""
    groups: dict[tuple[Any, ...], list[Conditions]] = defaultdict(list)
    for under in conditions:
        groups[under.pixels, under.jpeg, under.colour].append(under)
    return list(groups.values())


def _started(name: str, under: Conditions, device: torch.device) -> Metric:
    context = Context(under, "", num_codes=None, bits=None, device=device, keep=False)
    metric: Metric = registry.load("metrics", name)(context)
    return metric
