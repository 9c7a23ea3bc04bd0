"""Evaluate one model while the settings of the protocol change one by one.

All settings are evaluated in one pass over the same reconstructions, by the metrics of the tables; nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from vqbench import registry
from vqbench.backbone import Autoencoder
from vqbench.dataset import Dataset
from vqbench.errors import UsageError, nearest
from vqbench.evaluation.explaining.image_explanation import Say, cost
from vqbench.evaluation.explaining.named_conditions import named_conditions
from vqbench.evaluation.explaining.pair_changes import Fetch, plan
from vqbench.evaluation.explaining.protocol_differences import Explanation, ExplanationPlan
from vqbench.evaluation.explaining.settings import Conditions, Inputs
from vqbench.evaluation.image_pairs import chosen_metrics
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.protocol import MEASURE
from vqbench.spec import RunSpec, seeds
from vqbench.store.value_name import ValueName

if TYPE_CHECKING:
    from vqbench.metric import Metric


def explain(
    run: RunSpec,
    model: Autoencoder,
    dataset: Dataset,
    device: torch.device,
    metrics: Sequence[str] = (),
    test_images: int | None = None,
    *,
    start: str = "official",
    end: str = "clean",
    steps_only: bool = False,
    fetch: Fetch,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    say: Say = lambda sentence: None,
) -> Explanation:
    """Evaluate ``model`` from the protocol ``start`` to the protocol ``end``.

    Args:
        run: what the model was trained as.
        model: the trained model, on ``device``.
        dataset: whose test images are reconstructed.
        device: where reconstructions are computed.
        metrics: names, and one group at most (fast, paper, all); empty: fast, those that need no network.
        test_images: number of test images, from the first on; None for all.
        start: name of a protocol, of vqbench or of another tool.
        end: likewise.
        steps_only: change settings one after the other, none alone.
        fetch: fetches the assets that the data set and the metrics need.
        on_progress: receives the images done and the images in all; may raise Interrupted.
        say: receives what networks cost, before they begin.

    Raises UsageError for an unknown name, and AssetError for weights that cannot be had.
    """
    fetch(dataset.assets)
    available = len(dataset.pixels("test"))
    count = min(test_images or available, available)
    if test_images is not None and test_images > available:
        say(f"--test-images {test_images}: {dataset.title} has {available:,}, all of which are used")
    inputs = Inputs(count, dataset.size, dataset.size, dataset.channels, of_run=True)
    what = programme(metrics, inputs, fetch, start, end, steps_only)
    wanted = {under: chosen for under, chosen in what.wanted().items() if isinstance(under, Conditions)}
    if any(metric.assets(what.start) for metric in what.metrics.values()):
        say(cost(wanted, inputs))
    names = {under: str(ValueName(under.name, test_images)) for under in wanted}
    variants = [under for under in wanted if under.name not in MEASURE]
    evaluator = Evaluator(dataset, device, keep=False)
    measured = evaluator.measure(
        model,
        {names[under]: chosen for under, chosen in wanted.items()},
        on_progress,
        variants,
        seeds=seeds(run.seed, run.dataset.name),
    ).values
    values = {under: {metric: each.value for metric, each in measured[name].items()} for under, name in names.items()}
    return Explanation(run, count, what, dict(values.items()))


def programme(
    metrics: Sequence[str],
    inputs: Inputs,
    fetch: Fetch,
    start: str = "official",
    end: str = "clean",
    steps_only: bool = False,
) -> ExplanationPlan:
    """Choose the settings that explain ``metrics``, and fetch their weights.

    ``metrics`` are names and one group at most; without any, those that need no network. Raises UsageError for unknown
    names and a mix of groups.
    """
    chosen = chosen_metrics(metrics or None, with_codes=True, side=min(inputs.height, inputs.width))
    first, last = named_conditions(start, inputs), named_conditions(end, inputs)
    return plan(first, last, {name: _metric(name) for name in chosen}, inputs, fetch, steps_only)


def _metric(name: str) -> type[Metric]:
    metric: type[Metric] = registry.load("metrics", name)
    known = MEASURE["clean"].knobs()
    for knob in metric.knobs:
        if knob not in known:
            raise UsageError(f"metric {name!r} names an unknown knob {knob!r}; {nearest(knob, known)}")
    return metric
