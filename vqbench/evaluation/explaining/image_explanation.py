"""Explain values of images, between protocols or by a printed number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vqbench.errors import counted
from vqbench.evaluation.explaining.image_inputs import ImageInputs
from vqbench.evaluation.explaining.other_tools import named_protocol
from vqbench.evaluation.explaining.pair_changes import Fetch, plan
from vqbench.evaluation.explaining.protocol_differences import Explanation, ExplanationPlan, Number
from vqbench.evaluation.explaining.settings import Conditions
from vqbench.evaluation.explaining.target import TargetPlan, TargetSearch
from vqbench.evaluation.explaining.values import values_under
from vqbench.evaluation.image_pairs import default_metrics
from vqbench.protocol import MeasureProtocol
from vqbench.training.engine import Engine

SECONDS = {"rfid": 0.5, "kid": 0.5, "lpips": 1.2}  # per pair of 256x256 on one core: both images through the network
FRECHET = 30  # seconds on one core for the distance of two sets of moments, whatever the number of images

OnProgress = Callable[[int], None]  # receives the images done; may raise Interrupted


def plan_of(inputs: ImageInputs, start: str, end: str, metrics: Sequence[str], fetch: Fetch) -> ExplanationPlan:
    """Choose what to evaluate between the protocols named ``start`` and ``end``.

    Without ``metrics``, those that need no network. Raises UsageError for unknown names.
    """
    chosen = list(dict.fromkeys(metrics)) or default_metrics(with_codes=False)
    return plan(named_protocol(start), named_protocol(end), chosen, inputs.facts, fetch)


def explained(chosen: ExplanationPlan, inputs: ImageInputs, device: str, on_progress: OnProgress) -> Explanation:
    """Evaluate all that ``chosen`` wants."""
    wanted = {under: names for under, names in chosen.wanted().items() if isinstance(under, Conditions)}
    values: dict[MeasureProtocol, dict[str, Number]] = dict(
        values_under(wanted, inputs.batches, Engine(device).device, on_progress).items()
    )
    title = f"{counted(inputs.facts.images, 'pair')} of images, {inputs.size[0]}x{inputs.size[1]}"
    return Explanation(None, inputs.facts.images, chosen, values, title)


def searched(chosen: TargetPlan, inputs: ImageInputs, device: str, on_progress: OnProgress) -> TargetSearch:
    """Evaluate the base and all settings of ``chosen``.

    The base alone for a number that is out of the metric's range.
    """
    wanted = {chosen.base: [chosen.target.metric]} if chosen.target.outside() else chosen.wanted()
    values = values_under(wanted, inputs.batches, Engine(device).device, on_progress)
    base = values[chosen.base][chosen.target.metric]
    candidates = [] if chosen.target.outside() else chosen.ranked(values)
    return TargetSearch(chosen, inputs.facts, base, candidates, inputs.available)


def cost(chosen: TargetPlan, images: int) -> str:
    """Say how many passes of a network a search takes, and about how long."""
    count = len(chosen.wanted())
    distance = FRECHET if chosen.target.metric == "rfid" else 0
    minutes = count * (images * SECONDS[chosen.target.metric] + distance) / 60
    return (
        f"{counted(count, 'setting')} of {chosen.metric.label}, each a pass of its network over {images:,} pairs: "
        f"about {minutes:,.0f} minutes per core at 256x256 pixels"
    )
