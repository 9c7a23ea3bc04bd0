"""One trained run, measured again with the settings of the measuring protocol turned one after the other.

The way leads from ``official`` to ``clean``, so that every change of a number on it has the name of one setting.
All is measured in one pass over the same reconstructions, by the metrics that tables are made of; nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench import assets, registry
from vqbench.errors import AssetError, Interrupted, StoreError, UsageError, nearest
from vqbench.execution.progress import download_progress, run_progress
from vqbench.execution.stopping import Stop
from vqbench.protocol import MEASURE, MeasureProtocol
from vqbench.reporting.protocol_differences import Explanation, ExplanationPlan, SettingChange, data, text, word
from vqbench.spec import RunSpec
from vqbench.store.results import ResultStore
from vqbench.store.value_name import ValueName
from vqbench.system.output import CommandOutput

if TYPE_CHECKING:
    from vqbench.metric import Metric

START, END = MEASURE["official"], MEASURE["clean"]
BESIDE = {"lpips_net": "alex"}  # settings that both ends share, with the other value that is worth knowing
SMALLEST = {"alex": 31}  # side in pixels below which a network leaves nothing of an image
SLOW = ("rfid", "kid")  # metrics that take minutes a setting, so only where they are asked for


def explain(
    folder: Path,
    name: str,
    metrics: Sequence[str] = (),
    test_images: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> CommandOutput:
    """The run ``name`` of a results folder explained, by its first ``test_images`` test images or by all.

    ``metrics``: all but the slow ones if none is named. Raises UsageError for a run that is unknown or was made by
    other versions of its plugins, and StoreError for one without a sound checkpoint.
    """
    store = ResultStore(folder)
    run = store.find(name).run
    if run.parent is not None:
        raise UsageError(
            f"{name!r} is a generator, which makes images of its own; explain its first stage, {run.parent}"
        )
    checkpoint = store.folder(run) / "best.pt"
    if not checkpoint.exists():
        raise StoreError(
            f"{checkpoint}: there is no checkpoint (cleaned, or never published), so nothing can be measured anew; "
            "name the store that has it with --store, or delete the folder and train the run again"
        )
    explanation = measure(run, checkpoint, metrics, test_images, device, quiet)
    return CommandOutput(text(explanation), data(explanation))


# What to measure ------------------------------------------------------------------------------------------------------


def programme(metrics: Sequence[str], size: int) -> ExplanationPlan:
    """What explains ``metrics`` on images of ``size`` pixels. Fetches the weights that they need."""
    chosen = list(dict.fromkeys(metrics)) or [name for name in registry.names("metrics") if name not in SLOW]
    classes = {name: _metric(name) for name in chosen}
    if not metrics:  # an autoencoder has no samples
        classes = {name: metric for name, metric in classes.items() if not metric.of_samples}
    left_out: dict[str, None] = {}  # a set that keeps the order

    def turn(knob: str, under: MeasureProtocol) -> Iterator[SettingChange]:
        """The turn, or why there is none."""
        moved = tuple(name for name, metric in classes.items() if knob in metric.knobs)
        obstacle = _obstacle(knob, under, size, [classes[name] for name in moved])
        if obstacle:
            left_out[obstacle] = None
        else:
            yield SettingChange(knob, START, under, moved)

    _fetch(asset for metric in classes.values() for end in (START, END) for asset in metric.assets(end))
    way = [each for knob, under in steps() for each in turn(knob, under)]
    settings = {**{knob: getattr(END, knob) for knob, _ in steps()}, **BESIDE}
    alone = [each for knob, value in settings.items() for each in turn(knob, varied({knob: value}))]
    return ExplanationPlan(START, END, classes, way, alone, list(left_out))


def steps() -> list[tuple[str, MeasureProtocol]]:
    """The knobs in which START and END differ, each with the protocol after it and those before it; the last is END."""
    knobs = [knob for knob in START.knobs() if getattr(START, knob) != getattr(END, knob)]
    knobs.sort(key=lambda knob: knob != "jpeg")  # first, as a JPEG needs the 8 bits that another knob takes away
    ends = [{knob: getattr(END, knob) for knob in knobs[: i + 1]} for i in range(len(knobs))]
    return [(knob, END if knob == knobs[-1] else varied(end)) for knob, end in zip(knobs, ends, strict=True)]


def varied(settings: Mapping[str, Any]) -> MeasureProtocol:
    """START with other ``settings``, which are its name, so that nothing is kept under the name of another protocol."""
    name = "+".join([START.name, *(f"{knob}={word(value)}" for knob, value in settings.items())])
    version = START.VERSION + END.VERSION  # another one whenever either is raised
    return replace(START, name=name, summary=f"{name}, to explain numbers", VERSION=version, **settings)


def _obstacle(knob: str, under: MeasureProtocol, size: int, metrics: Sequence[type[Metric]]) -> str:
    """Why ``metrics``, all that the knob can move, are not measured ``under`` what it leads to; empty if they are."""
    if not metrics:
        return f"{knob} moves none of these metrics"
    if under.pixels == "float" and under.jpeg is not None:
        return f"{knob} cannot be turned alone: a JPEG round trip needs pixels of 8 bits"
    setting = f"{knob} cannot be turned to {word(getattr(under, knob))}"
    if size < (smallest := SMALLEST.get(under.lpips_net, 0)):
        return f"{setting}: that needs images of {smallest}x{smallest} pixels, and these are {size}x{size}"
    try:
        _fetch(asset for metric in metrics for asset in metric.assets(under))
    except AssetError as error:
        return f"{setting}: {error}"
    return ""


def _metric(name: str) -> type[Metric]:
    metric = registry.load("metrics", name)
    for knob in metric.knobs:
        if knob not in START.knobs():
            raise UsageError(f"metric {name!r} names an unknown knob {knob!r}; {nearest(knob, START.knobs())}")
    return metric


def _fetch(names: Iterable[str]) -> None:
    for name in dict.fromkeys(names):
        with download_progress(name) as tell:
            assets.fetch(name, progress=tell)


# Measuring ------------------------------------------------------------------------------------------------------------


def measure(
    run: RunSpec, checkpoint: Path, metrics: Sequence[str], test_images: int | None, device: str, quiet: bool
) -> Explanation:
    """Measure the model of ``run`` under every protocol that its explanation needs, in one pass."""
    from vqbench.evaluation.reconstructions import Evaluator
    from vqbench.execution.model_building import build, require_planned
    from vqbench.training.engine import Engine

    _refuse_other_versions(run)
    require_planned(run)
    registry.refresh(run.dataset.name, run.dataset.args)
    dataset: Any = registry.create("datasets", run.dataset.name, **run.dataset.args)
    recipe: Any = registry.create("recipes", run.recipe.name, **run.recipe.args)
    engine = Engine(device, getattr(recipe, "precision", "float32"))  # as when the run was first measured
    _fetch(dataset.assets)
    model = build(run, dataset).to(engine.device)
    weights = engine.load(checkpoint)
    with engine.restoring(checkpoint):
        model.load_state_dict(weights)
    what = programme(metrics, dataset.size)
    names = {under: str(ValueName(under.name, test_images)) for under in what.wanted()}
    with Stop() as stop, run_progress(1, quiet) as listener:

        def advanced(done: int, total: int) -> None:
            listener.run_advanced(run, done, total)
            if stop():
                raise Interrupted("stopped while measuring; nothing was to be kept")

        listener.run_started(run, "measuring")
        wanted = {names[under]: chosen for under, chosen in what.wanted().items()}
        variants = [under for under in names if under not in (START, END)]
        measured = Evaluator(dataset, engine.device, keep=False).measure(model, wanted, advanced, variants).values
    values = {under: {metric: each.value for metric, each in measured[name].items()} for under, name in names.items()}
    images = next(each.images for each in measured[names[START]].values())
    return Explanation(run, images, what, values)


def _refuse_other_versions(run: RunSpec) -> None:
    """Weights mean nothing to code that they were not trained with."""
    parts: tuple[tuple[registry.Kind, Any], ...] = (
        ("backbones", run.backbone),
        ("datasets", run.dataset),
        ("quantizers", run.quantizer),
    )
    for kind, part in parts:
        here = registry.load(kind, part.name).VERSION
        if here != part.version:
            raise UsageError(
                f"run {run.key} was made by version {part.version} of {kind[:-1]} {part.name!r}, "
                f"and this is version {here}; train it again"
            )
