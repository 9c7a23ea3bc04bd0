"""The runs that a suite asks for: its lists and grids expanded, all arguments resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from vqbench import protocol
from vqbench.errors import AssetError, UsageError, nearest
from vqbench.spec import PluginSpec, RunSpec
from vqbench.system.paths import path_of

if TYPE_CHECKING:  # pydantic is only needed by who reads suites
    from vqbench.planning.suite import PaperRow, Plugin, SuiteRow, SuiteSpec
    from vqbench.planning.yamlfile import KeyPath

RECIPE = "autoencoder"  # what the training protocols are arguments of
SECOND = ("batch_size", "subset")  # what a reduced copy changes of a second stage


@dataclass(frozen=True)
class SuiteEntry:
    """One run in its place in a suite: two entries, and two suites, may share a run."""

    label: str  # of the row, in which what the suite's table groups by is left out
    row: int  # position among the rows of the suite, grids expanded
    dataset: str  # as the suite names it
    seed: int
    group: str | int | float | bool | None  # the block or column group: the data set, or the value of an argument
    paper: PaperRow | None  # the row of the paper's table that this one corresponds to
    run: RunSpec
    second: RunSpec | None = None  # the generator on that run, where the suite asks for one


class ResolvedPlugin(Protocol):
    """A plugin as the registry resolves it."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def args(self) -> Mapping[str, Any]: ...
    @property
    def source(self) -> str | None: ...


class Registry(Protocol):
    """What :func:`expand` needs of :mod:`vqbench.registry`."""

    def names(self, kind: Any, /) -> list[str]: ...
    def resolve(
        self, kind: Any, name: str, given: Mapping[str, Any], fixed: Mapping[str, Any] | None = None, /
    ) -> ResolvedPlugin: ...
    def refresh(self, name: str, given: Mapping[str, Any], /) -> None: ...


def expand(suite: SuiteSpec, registry: Registry | None = None) -> list[SuiteEntry]:
    """Every run of ``suite``: data sets, rows and seeds in the order of the file, all arguments resolved.

    Raises UsageError, with the place in the file, for unknown plugins and wrong arguments, for two rows that a
    table could not tell apart, and for a table grouped by what no row has.
    """
    if registry is None:
        from vqbench import registry as plugins

        registry = plugins
    for index, metric in enumerate(suite.metrics):
        if metric not in (known := registry.names("metrics")):
            raise suite.error(("metrics", index), f"unknown metric {metric!r}; {nearest(metric, known)}")
    recipes = _of_rows(suite, "train", suite.train, lambda plugin, place: _recipe(suite, registry, plugin, place))
    second = _second(suite, registry)
    backbones = _of_rows(
        suite, "backbone", suite.backbone, lambda plugin, place: _backbone(suite, registry, plugin, place)
    )
    entries = []
    for position, dataset in enumerate(suite.datasets):
        data = dataset_part(suite, registry, position)
        seen: set[tuple[str, Any]] = set()
        for index, row in enumerate(suite.rows()):
            recipe, backbone = recipes[row.source], backbones[row.source]
            quantizer = _quantizer(suite, registry, row, dataset.name)
            group = dataset.name if suite.table.group == "dataset" else quantizer.args.get(suite.table.group)
            if (row.label, group) in seen:
                raise suite.error(
                    ("quantizers", row.source), f"a second row is labelled {row.label!r}; give it a `label` of its own"
                )
            seen.add((row.label, group))
            paper = suite.quantizers[row.source].paper
            for seed in suite.seeds:
                run = RunSpec(recipe, backbone, data, quantizer, seed)
                generator = replace(run, recipe=second, parent=run.key) if second else None
                entries.append(SuiteEntry(row.label, index, dataset.name, seed, group, paper, run, generator))
    known = ["dataset", *dict.fromkeys(name for entry in entries for name in entry.run.quantizer.args)]
    if (by := suite.table.group) not in known:
        raise suite.error(("table", "group"), f"no row has an argument {by!r}; {nearest(by, known)}")
    return entries


def _of_rows(
    suite: SuiteSpec, key: str, common: Plugin, resolve: Callable[[Plugin, KeyPath], PluginSpec]
) -> list[PluginSpec]:
    """What each row as written has under ``key``: its own, or the suite's, resolved only if some row has it."""
    shared: PluginSpec | None = None
    parts = []
    for source, row in enumerate(suite.quantizers):
        own: Plugin | None = getattr(row, key)
        if own is not None:
            parts.append(resolve(own, ("quantizers", source, key)))
            continue
        shared = shared or resolve(common, (key,))
        parts.append(shared)
    return parts


def _recipe(suite: SuiteSpec, registry: Registry, train: Plugin, place: KeyPath) -> PluginSpec:
    """A training protocol's arguments or, if it is named, another recipe's; then one's own, then a reduced copy's."""
    known = [*protocol.TRAIN, *registry.names("recipes")]
    if train.name not in known:
        raise suite.error(place, f"unknown training protocol or recipe {train.name!r}; {nearest(train.name, known)}")
    named = train.name in protocol.TRAIN
    args = (protocol.training(train.name) if named else {}) | train.args | suite.reduced
    at: dict[str, KeyPath] = {argument: ("reduced", argument) for argument in suite.reduced}
    return _resolve(suite, registry, "recipes", RECIPE if named else train.name, args, (*place, train.name), at)


def _backbone(suite: SuiteSpec, registry: Registry, backbone: Plugin, place: KeyPath) -> PluginSpec:
    return _resolve(suite, registry, "backbones", backbone.name, backbone.args, (*place, backbone.name))


def refresh(suite: SuiteSpec, registry: Registry, position: int) -> None:
    """Look at every file of the data set at ``position``, so that an image rewritten in place is known as it is now."""
    written = suite.datasets[position]
    with suppress(UsageError):  # what is wrong with a data set is told with its place when it is resolved
        registry.refresh(written.name, _folder(suite, written) | written.args)


def _folder(suite: SuiteSpec, written: Plugin) -> dict[str, str]:
    """The suite's ``data`` as an argument of a data set that has no folder of its own."""
    return {"folder": suite.data} if suite.data is not None and "folder" not in written.args else {}


def dataset_part(suite: SuiteSpec, registry: Registry, position: int) -> PluginSpec:
    """The data set at ``position``, with the suite's ``data`` as its folder where it has none of its own."""
    written = suite.datasets[position]
    shared = _folder(suite, written)
    at: dict[str, KeyPath] = {"folder": ("data",)} if shared else {}
    place = ("datasets", position, written.name)
    return _resolve(suite, registry, "datasets", written.name, shared | written.args, place, at)


def _second(suite: SuiteSpec, registry: Registry) -> PluginSpec | None:
    """The recipe of the second stage; of a reduced copy, with fewer images and smaller batches too."""
    if suite.generate is None:
        return None
    name, smaller = suite.generate.name, {key: suite.reduced[key] for key in SECOND if key in suite.reduced}
    at: dict[str, KeyPath] = {argument: ("reduced", argument) for argument in smaller}
    return _resolve(suite, registry, "recipes", name, suite.generate.args | smaller, ("generate", name), at)


def _quantizer(suite: SuiteSpec, registry: Registry, row: SuiteRow, dataset: str) -> PluginSpec:
    """The quantizer of ``row`` on ``dataset``: the row's arguments, then those for this data set, within the budget."""
    own = suite.quantizers[row.source].on.get(dataset, {})
    place: KeyPath = ("quantizers", row.source)
    at = {argument: (*place, "on", dataset, argument) for argument in own}
    return _resolve(
        suite, registry, "quantizers", row.quantizer, row.args | own, (*place, row.quantizer), at, row.budget
    )


def _resolve(
    suite: SuiteSpec,
    registry: Registry,
    kind: str,
    name: str,
    given: Mapping[str, Any],
    place: KeyPath,  # of the plugin; of its arguments too, if not told otherwise by ``at``
    at: Mapping[str, KeyPath] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> PluginSpec:
    """The plugin with all its arguments. An error of the registry gets the place in the file, down to the argument."""
    folder = given.get("folder") if kind == "datasets" else None
    try:
        if isinstance(folder, str):
            path_of(folder)
    except UsageError as error:
        raise suite.error((at or {}).get("folder", (*place, "folder")), str(error)) from None
    try:
        resolved = registry.resolve(kind, name, given, fixed or {})
    except UsageError as error:
        for argument in given:
            if f"argument {argument!r}" in str(error):
                place = (at or {}).get(argument, (*place, argument))
                break
        raise suite.error(place, str(error)) from None
    except AssetError as error:
        if not isinstance(folder, str) or path_of(folder).is_dir():
            raise
        raise suite.error((at or {}).get("folder", (*place, "folder")), str(error)) from None
    return PluginSpec(resolved.name, resolved.version, resolved.args, resolved.source)
