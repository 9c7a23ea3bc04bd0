"""Check before training that models and data fit each other.

The shape of codes is found in the same way. Models are built without memory or arithmetic, and of data sets only the
sizes are read, not the images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from vqbench import protocol, registry
from vqbench.errors import AssetError, UsageError
from vqbench.planning.expansion import dataset_part
from vqbench.planning.plan import PlannedRun
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.yamlfile import KeyPath
from vqbench.registry import metric_groups
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.value_name import Sampling

T = TypeVar("T")
NONE: Mapping[str, KeyPath] = MappingProxyType({})
NEAR = 64  # how far from a wrong side a right one is searched for, in pixels


def require_feasible(
    suite: SuiteSpec, entries: Sequence[PlannedRun], data: Mapping[str, Any], sampling: Sampling | None
) -> None:
    """Raise UsageError for the first run that would fail.

    The error has the place in the file. ``data`` are the data sets as the suite names them.
    """
    _require_metrics(suite, data, sampling)
    for entry, source in _distinct(suite, entries):
        dataset = data[entry.dataset]
        _require_quantizer(suite, entry, source)
        _require_backbone(suite, entry, source, dataset)
        for stage, place in ((entry.run, _train(suite, source)), (entry.second, _generate(suite))):
            if stage is not None and place is not None:
                _require_recipe(suite, stage.recipe, place, dataset)


def _distinct(suite: SuiteSpec, entries: Iterable[PlannedRun]) -> Iterable[tuple[PlannedRun, int]]:
    """One entry for each row and data set, of any seed.

    With it comes the row's place among the suite's quantizers.
    """
    rows = suite.rows()
    return {(entry.row, entry.dataset): (entry, rows[entry.row].source) for entry in entries}.values()


# Recipes --------------------------------------------------------------------------------------------------------------


def _train(suite: SuiteSpec, source: int) -> KeyPath:
    own = suite.quantizers[source].train
    return ("train", suite.train.name) if own is None else ("quantizers", source, "train", own.name)


def _generate(suite: SuiteSpec) -> KeyPath | None:
    return None if suite.generate is None else ("generate", suite.generate.name)


def _require_recipe(suite: SuiteSpec, part: PluginSpec, place: KeyPath, dataset: Any) -> None:
    recipe = _attempt(suite, place, part.args, lambda: registry.load("recipes", part.name)(**part.args))
    if recipe is None:
        return
    if dataset.of_features and not recipe.on_features:
        able = [name for name in registry.names("recipes") if registry.load("recipes", name).on_features]
        raise suite.error(
            place, f"{part.name} trains on images, and {dataset.title} has features; take {' or '.join(able)}"
        )
    counts = dataset.counts
    with registry.contained("recipes", part.name):
        wrong = recipe.misfit(counts["train"], counts["test"], dataset.holdout, dataset.size)
    if wrong:
        raise suite.error(_at(suite, place, part.args, wrong), f"on {dataset.title}: {wrong}")


# Backbones and quantizers ---------------------------------------------------------------------------------------------


def _require_quantizer(suite: SuiteSpec, entry: PlannedRun, source: int) -> None:
    part = entry.run.quantizer
    place = ("quantizers", source, suite.quantizers[source].quantizer)
    own = suite.quantizers[source].on.get(entry.dataset, {})
    args = {**suite.quantizers[source].args, **own}
    at = dict.fromkeys(own, ("quantizers", source, "on", entry.dataset))
    _attempt(suite, place, args, lambda: _outlined("quantizers", part, **part.args), at)


def _require_backbone(suite: SuiteSpec, entry: PlannedRun, source: int, dataset: Any) -> None:
    own, part, size = suite.quantizers[source].backbone, entry.run.backbone, dataset.size
    written = own or suite.backbone
    place: KeyPath = ("backbone", written.name) if own is None else ("quantizers", source, "backbone", written.name)
    shape = {"channels": dataset.channels, "dim": entry.run.quantizer.args["dim"]}
    model = _attempt(suite, place, written.args, lambda: _outlined("backbones", part, **shape, **part.args))
    if model is None or _keeps(model, dataset.channels, size):
        return
    below = (side for side in range(size - 1, max(0, size - NEAR), -1) if _keeps(model, dataset.channels, side))
    above = (side for side in range(size + 1, size + NEAR) if _keeps(model, dataset.channels, side))
    sides = " or ".join(str(side) for side in (next(below, None), next(above, None)) if side is not None)
    position = [each.name for each in suite.datasets].index(entry.dataset)
    if "size" in suite.datasets[position].args:
        place = ("datasets", position, entry.dataset, "size")
    raise suite.error(
        place,
        f"{part.name} does not return images of {size}x{size} pixels, the size of {dataset.title}"
        + (f"; it takes a side of {sides}" if sides else "; take another backbone"),
    )


def _outlined(kind: registry.Kind, part: PluginSpec, **args: Any) -> Any:
    """A backbone or quantizer without memory or arithmetic."""
    import torch

    cls: Any = registry.load(kind, part.name)
    with torch.device("meta"), torch.no_grad():
        return cls.outline(**args) if kind == "backbones" else cls(**args)


def _keeps(model: Any, channels: int, size: int) -> bool:
    """Whether the backbone returns images of this side in their size.

    True if a stranger's backbone cannot be run without data.
    """
    if model.factor is not None:
        factor: int = model.factor
        return size % factor == 0
    import torch

    with torch.device("meta"), torch.no_grad():
        blank = torch.zeros(1, channels, size, size)
        try:
            image: torch.Tensor = model.decode(model.encode(blank))
            return image.shape == blank.shape
        except (Exception, SystemExit):  # it may need values; training will show
            return True


def _attempt(
    suite: SuiteSpec, place: KeyPath, args: Mapping[str, Any], make: Callable[[], T], at: Mapping[str, KeyPath] = NONE
) -> T | None:
    """The result of ``make``; None if it needs data or packages that are absent.

    Its UsageErrors get their place.
    """
    try:
        return make()
    except AssetError:
        return None
    except UsageError as error:
        if isinstance(error.__context__, ImportError):
            return None  # of a package that only training needs
        raise suite.error(_at(suite, place, args, str(error), at), str(error)) from None
    except (Exception, SystemExit):  # of a stranger's, which may need values
        return None


def _at(
    suite: SuiteSpec, place: KeyPath, args: Mapping[str, Any], message: str, at: Mapping[str, KeyPath] = NONE
) -> KeyPath:
    """The place of the first argument that a message names."""
    for word in re.findall(r"\w+", message):
        if word in suite.reduced:
            return ("reduced", word)
        if word in args:
            return (*at.get(word, place), word)
    return place


# Metrics --------------------------------------------------------------------------------------------------------------


def _require_metrics(suite: SuiteSpec, data: Mapping[str, Any], sampling: Sampling | None) -> None:
    for index, name in enumerate(suite.metrics):
        for dataset in data.values():
            if problem := _obstacle(suite, name, dataset, sampling):
                raise suite.error(("metrics", index), problem)


def _obstacle(suite: SuiteSpec, name: str, dataset: Any, sampling: Sampling | None) -> str | None:
    """Return why ``name`` cannot be measured on ``dataset``; None if it can."""
    metric: Any = registry.load("metrics", name)
    if dataset.of_features and metric.knobs:
        return f"{name} measures images, and {dataset.title} has features; leave {name} out"
    for measured in suite.measure:
        with registry.contained("metrics", name):
            side = metric.smallest(protocol.measuring(measured))
        if dataset.size < side:
            return (
                f"{name} under {measured} needs images of {side}x{side} pixels or more, {dataset.title} has "
                f"{dataset.size}x{dataset.size}; leave {name} out, or take larger images"
            )
    count, what = _images(dataset, metric.of_samples, sampling, suite.test_images)
    if count < metric.fewest:
        return (
            f"{name} needs {metric.fewest} {what} or more, {dataset.title} gives {count}; leave {name} out, or "
            "take more images"
        )
    return None


def applicable_metrics(suite: SuiteSpec, group: str) -> list[str]:
    """List the metrics of ``group`` that ``suite`` can measure on all its data sets.

    Its own come first, in its order. Metrics of samples apply where the suite has a second stage.
    """
    parts = [dataset_part(suite, registry, position) for position in range(len(suite.datasets))]
    data = [registry.create("datasets", part.name, **part.args) for part in parts]
    recipe: Any = None
    sampling = None
    if suite.generate is not None:
        recipe = registry.load("recipes", suite.generate.name)
        sampling = suite.samples.sampling(suite.generate.name, recipe)

    def applies(name: str) -> bool:
        metric: Any = registry.load("metrics", name)
        if metric.of_samples and (recipe is None or (metric.of_likelihood and not recipe.likelihood)):
            return False
        return all(_obstacle(suite, name, dataset, sampling) is None for dataset in data)

    known = metric_groups.members(group, [protocol.measuring(name) for name in suite.measure])
    own = [name for name in suite.metrics if name in known]
    return [name for name in dict.fromkeys([*own, *known]) if applies(name)]


def _images(dataset: Any, of_samples: bool, sampling: Sampling | None, tested: int | None) -> tuple[int, str]:
    """The number of images that a metric is computed from, and what they are."""
    test = min(dataset.counts["test"], tested or dataset.counts["test"])
    if not of_samples or sampling is None:
        return test, "test images"
    split = test if sampling.reference == "test" else dataset.counts["train"]
    references = min(split, sampling.references or split)
    return (sampling.count, "samples") if sampling.count <= references else (references, "references")


# Shapes ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CodeShape:
    """The shape of a run's codes.

    ``latent`` is the map of codes of one image, such as "16²×4"; ``codes`` the size of a codebook.
    """

    latent: str | None = None
    codes: int | None = None


def code_shape(run: RunSpec, channels: int, size: int) -> CodeShape:
    """Find the shape of a run's codes, from its backbone and quantizer.

    Empty if nothing is quantized.
    """
    import torch

    with registry.contained("quantizers", run.quantizer.name):
        quantizer = _outlined("quantizers", run.quantizer, **run.quantizer.args)
    if quantizer.depth == 0:
        return CodeShape()
    shape = {"channels": channels, "dim": run.quantizer.args["dim"]}
    with registry.contained("backbones", run.backbone.name):
        backbone = _outlined("backbones", run.backbone, **shape, **run.backbone.args)
    if backbone.factor is not None:
        height = width = size // backbone.factor
    else:
        with torch.device("meta"), torch.no_grad():
            height, width = backbone.encode(torch.zeros(1, channels, size, size)).shape[-2:]
    side = f"{height}²" if height == width else f"{height}×{width}"
    return CodeShape(side + (f"×{quantizer.depth}" if quantizer.depth > 1 else ""), quantizer.num_codes)
