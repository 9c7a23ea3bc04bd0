"""Evaluate one model while the settings of the protocol change one by one.

The steps lead from ``official`` to ``clean``, so that every change of a number has the name of one setting. All
protocols are evaluated in one pass over the same reconstructions, by the metrics of the tables; nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from vqbench import registry
from vqbench.backbone import Autoencoder
from vqbench.dataset import Dataset
from vqbench.errors import AssetError, UsageError, nearest
from vqbench.evaluation.explaining.pair_changes import Fetch, differing
from vqbench.evaluation.explaining.protocol_differences import Explanation, ExplanationPlan, SettingChange, word
from vqbench.evaluation.explaining.settings import ALEXNET
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.protocol import MEASURE, MeasureProtocol
from vqbench.spec import RunSpec
from vqbench.store.value_name import ValueName

if TYPE_CHECKING:
    from vqbench.metric import Metric

START, END = MEASURE["official"], MEASURE["clean"]
BESIDE = {"lpips_net": "alex"}  # settings that both ends share, with the other value that is worth comparing
SMALLEST = {"alex": ALEXNET}  # side in pixels below which a network leaves nothing of an image
SLOW = ("rfid", "kid")  # metrics that take minutes per setting, so only on request


def explain(
    run: RunSpec,
    model: Autoencoder,
    dataset: Dataset,
    device: torch.device,
    metrics: Sequence[str] = (),
    test_images: int | None = None,
    *,
    fetch: Fetch,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explanation:
    """Evaluate ``model`` under all protocols from ``official`` to ``clean``.

    Args:
        run: what the model was trained as.
        model: the trained model, on ``device``.
        dataset: whose test images are reconstructed.
        device: where reconstructions are computed.
        metrics: names of metrics; empty for all but the slow ones.
        test_images: number of test images, from the first on; None for all.
        fetch: fetches the assets that the data set and the metrics need.
        on_progress: receives the images done and the images in all; may raise Interrupted.

    Raises UsageError for an unknown metric, and AssetError for weights that cannot be had.
    """
    fetch(dataset.assets)
    what = programme(metrics, dataset.size, fetch)
    names = {under: str(ValueName(under.name, test_images)) for under in what.wanted()}
    wanted = {names[under]: chosen for under, chosen in what.wanted().items()}
    variants = [under for under in names if under not in (START, END)]
    evaluator = Evaluator(dataset, device, keep=False)
    measured = evaluator.measure(model, wanted, on_progress, variants).values
    values = {under: {metric: each.value for metric, each in measured[name].items()} for under, name in names.items()}
    images = next(each.images for each in measured[names[START]].values())
    return Explanation(run, images, what, values)


def programme(metrics: Sequence[str], size: int, fetch: Fetch) -> ExplanationPlan:
    """Choose the protocols that explain ``metrics``, and fetch their weights.

    ``size`` is the side of the images in pixels.
    """
    chosen = list(dict.fromkeys(metrics)) or [name for name in registry.names("metrics") if name not in SLOW]
    classes = {name: _metric(name) for name in chosen}
    if not metrics:  # an autoencoder has no samples
        classes = {name: metric for name, metric in classes.items() if not metric.of_samples}
    left_out: dict[str, None] = {}  # a set that keeps the order

    def turn(knob: str, under: MeasureProtocol) -> Iterator[SettingChange]:
        """Yield the turn of one knob, or note why it is left out."""
        moved = tuple(name for name, metric in classes.items() if knob in metric.knobs)
        obstacle = _obstacle(knob, under, size, [classes[name] for name in moved], fetch)
        if obstacle:
            left_out[obstacle] = None
        else:
            yield SettingChange(knob, START, under, moved)

    fetch([asset for metric in classes.values() for end in (START, END) for asset in metric.assets(end)])
    way = [each for knob, under in steps() for each in turn(knob, under)]
    settings = {**{knob: getattr(END, knob) for knob, _ in steps()}, **BESIDE}
    alone = [each for knob, value in settings.items() for each in turn(knob, varied({knob: value}))]
    return ExplanationPlan(START, END, classes, way, alone, list(left_out))


def steps() -> list[tuple[str, MeasureProtocol]]:
    """List the knobs in which START and END differ.

    Each comes with the protocol after it; the last one is END.
    """
    knobs = differing(START, END)
    ends = [{knob: getattr(END, knob) for knob in knobs[: i + 1]} for i in range(len(knobs))]
    return [(knob, END if knob == knobs[-1] else varied(end)) for knob, end in zip(knobs, ends, strict=True)]


def varied(settings: Mapping[str, Any]) -> MeasureProtocol:
    """Return START with other ``settings``, which become part of its name.

    So no value is cached under the name of another protocol.
    """
    name = "+".join([START.name, *(f"{knob}={word(value)}" for knob, value in settings.items())])
    version = START.VERSION + END.VERSION  # another one whenever either is raised
    return replace(START, name=name, summary=f"{name}, to explain numbers", VERSION=version, **settings)


def _obstacle(knob: str, under: MeasureProtocol, size: int, metrics: Sequence[type[Metric]], fetch: Fetch) -> str:
    """Why ``metrics`` cannot be measured ``under`` the turned knob, or empty.

    ``metrics`` are all that the knob can move.
    """
    if not metrics:
        return f"{knob} moves none of these metrics"
    if under.pixels == "float" and under.jpeg is not None:
        return f"{knob} cannot be turned alone: a JPEG round trip needs pixels of 8 bits"
    setting = f"{knob} cannot be turned to {word(getattr(under, knob))}"
    if size < (smallest := SMALLEST.get(under.lpips_net, 0)):
        return f"{setting}: that needs images of {smallest}x{smallest} pixels, and these are {size}x{size}"
    try:
        fetch([asset for metric in metrics for asset in metric.assets(under)])
    except AssetError as error:
        return f"{setting}: {error}"
    return ""


def _metric(name: str) -> type[Metric]:
    metric = registry.load("metrics", name)
    for knob in metric.knobs:
        if knob not in START.knobs():
            raise UsageError(f"metric {name!r} names an unknown knob {knob!r}; {nearest(knob, START.knobs())}")
    return metric
