"""Expand a suite to runs, with all arguments of all plugins resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from vqbench import protocol
from vqbench.errors import AssetError, UsageError, nearest
from vqbench.planning.cost import updates_on
from vqbench.planning.plan import PlannedRun
from vqbench.spec import PluginSpec, RunSpec
from vqbench.system.paths import path_of

if TYPE_CHECKING:  # pydantic is only needed to read suites
    from vqbench.planning.schema import Plugin
    from vqbench.planning.suite import SuiteRow, SuiteSpec
    from vqbench.planning.yamlfile import KeyPath

IN_A_FILE = "; name the file of your own by --plugin"  # the end of an error about a name that no plugin has
RELATIVE = " (a relative folder is one beside the suite's file or in the current folder)"


class Registry(Protocol):
    """The functions of :mod:`vqbench.registry` that :func:`expand` calls."""

    def names(self, kind: Any, /) -> list[str]: ...
    def load(self, kind: Any, name: str, /) -> type[Any]: ...
    def resolve(
        self, kind: Any, name: str, given: Mapping[str, Any], fixed: Mapping[str, Any] | None = None, /
    ) -> PluginSpec: ...
    def refresh(self, name: str, given: Mapping[str, Any], /) -> None: ...


def expand(suite: SuiteSpec, registry: Registry | None = None) -> list[PlannedRun]:
    """Expand ``suite`` to its runs, all arguments resolved.

    Data sets, rows and seeds are in the order of the file.

    Raises UsageError, with the place in the file, for unknown plugins and wrong arguments, for two rows with
    one label in one group, and for a table grouped by an argument that no row has.
    """
    if registry is None:
        from vqbench import registry as plugins

        registry = plugins
    for index, metric in enumerate(suite.metrics):
        if metric not in (known := registry.names("metrics")):
            raise suite.error(("metrics", index), f"unknown metric {metric!r}; {nearest(metric, known)}{IN_A_FILE}")
    recipes = _of_rows(suite, "train", suite.train, lambda plugin, place: _recipe(suite, registry, plugin, place))
    second = _second(suite, registry)
    backbones = _of_rows(
        suite, "backbone", suite.backbone, lambda plugin, place: _backbone(suite, registry, plugin, place)
    )
    entries = []
    _require_parent(suite, registry, recipes)
    for position, dataset in enumerate(suite.datasets):
        data = dataset_part(suite, registry, position)
        seen: set[tuple[str, Any]] = set()
        for index, row in enumerate(suite.rows()):
            recipe, backbone = recipes[row.source], backbones[row.source]
            quantizer = _quantizer(suite, registry, row, dataset.name)
            lengths = {"updates": updates_on(recipe, data)} if "updates" in suite.table.grouped_by else {}
            group = suite.table.group_of(dataset.name, {**recipe.args, **quantizer.args, **lengths})
            if (row.label, group) in seen:
                raise suite.error(
                    ("quantizers", row.source), f"a second row is labelled {row.label!r}; give it a `label` of its own"
                )
            seen.add((row.label, group))
            paper = suite.quantizers[row.source].paper
            entries += [
                PlannedRun(
                    label=row.label,
                    row=index,
                    dataset=dataset.name,
                    seed=seed,
                    group=group,
                    run=RunSpec(recipe, backbone, data, quantizer, seed),
                    paper_row=paper.row if paper else None,
                    paper_setting=paper.setting if paper else None,
                )
                for seed in suite.seeds
            ]
    if suite.parent is not None:
        entries = _on_parents(suite, registry, entries)
    if second:
        entries = [replace(entry, second=replace(entry.run, recipe=second, parent=entry.run.key)) for entry in entries]
    _require_groups(suite, entries)
    return entries


def _require_parent(suite: SuiteSpec, registry: Registry, recipes: Sequence[PluginSpec]) -> None:
    """Raise UsageError for a parent that a recipe lacks, or that no row builds on."""
    needing = [source for source, recipe in enumerate(recipes) if registry.load("recipes", recipe.name).needs_parent]
    building = [source for source, recipe in enumerate(recipes) if _builds_on_parent(registry, recipe)]
    if suite.parent is None:
        if needing:
            name = recipes[needing[0]].name
            own = suite.quantizers[needing[0]].train is not None
            place: KeyPath = ("quantizers", needing[0], "train") if own else ("train",)
            why = f"{name!r} puts a quantizer into a trained run; name the row that is trained before, by its label"
            raise suite.error(place, f"{why}, under the suite's key `parent`")
        return
    if not building:
        raise suite.error(
            ("parent",), "no row builds on another one; train rows by `swap` or `atomic`, or leave `parent` out"
        )
    own_labels = [row.label for row in suite.rows() if row.source not in building]
    found = own_labels.count(suite.parent)
    if found == 0:
        known = nearest(suite.parent, own_labels) if own_labels else "give one a `train` of its own"
        raise suite.error(("parent",), f"no row with a training of its own has the label {suite.parent!r}; {known}")
    if found > 1:
        raise suite.error(("parent",), f"{found} rows have the label {suite.parent!r}; the parent has to be one row")


def _builds_on_parent(registry: Registry, recipe: PluginSpec) -> bool:
    """Whether runs of ``recipe`` start from the backbone of a suite's ``parent``."""
    trainer = registry.load("recipes", recipe.name)
    return bool(trainer.takes_parent or trainer.needs_parent)


def _on_parents(suite: SuiteSpec, registry: Registry, entries: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Give the runs that build on the parent row the key of its run.

    It is the run on the same data set, with the same seed. Raises UsageError where the backbones differ.
    """
    parents = {(entry.dataset, entry.seed): entry.run for entry in entries if entry.label == suite.parent}
    sources = [row.source for row in suite.rows()]
    built = []
    for entry in entries:
        run, parent = entry.run, parents[entry.dataset, entry.seed]
        if _builds_on_parent(registry, run.recipe):
            widths = run.quantizer.args["dim"], parent.quantizer.args["dim"]
            if run.backbone != parent.backbone or widths[0] != widths[1]:
                place: KeyPath = ("quantizers", sources[entry.row])
                what = f"dim {widths[0]}, not {widths[1]}" if widths[0] != widths[1] else "another backbone"
                raise suite.error(place, f"has {what}, and builds on {suite.parent!r}; give both the same")
            entry = replace(entry, run=replace(run, parent=parent.key))
        built.append(entry)
    return built


def _require_groups(suite: SuiteSpec, entries: Sequence[PlannedRun]) -> None:
    """Raise UsageError unless the table's groups are known, and mix no data sets."""
    settings = [name for entry in entries for part in (entry.run.quantizer, entry.run.recipe) for name in part.args]
    known = ["dataset", "updates", *dict.fromkeys(settings)]
    names = suite.table.grouped_by
    for by in names:
        if by not in known:
            raise suite.error(("table", "group"), f"no row has an argument {by!r}; {nearest(by, known)}")
    if len(suite.datasets) > 1 and "dataset" not in names and suite.table.layout == "rows":
        raise suite.error(
            ("table", "group"),
            f"blocks by {', '.join(names)} would mix {len(suite.datasets)} data sets; group by "
            f"[dataset, {', '.join(names)}], or set layout to side_by_side",
        )


def _of_rows(
    suite: SuiteSpec, key: str, common: Plugin, resolve: Callable[[Plugin, KeyPath], PluginSpec]
) -> list[PluginSpec]:
    """The plugin of each row under ``key``: its own, or else the suite's.

    That of the suite is resolved only if a row needs it.
    """
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
    """The recipe of a training protocol or of its own name.

    Arguments of the row win over those of the protocol.
    """
    known = [*protocol.TRAIN, *registry.names("recipes")]
    if train.name not in known:
        unknown = f"unknown training protocol or recipe {train.name!r}"
        raise suite.error(place, f"{unknown}; {nearest(train.name, known)}{IN_A_FILE}")
    under = protocol.TRAIN.get(train.name)
    name, args = (under.recipe, under.args()) if under else (train.name, {})
    return _resolve_recipe(suite, registry, name, args | train.args, suite.reduced, (*place, train.name))


def _backbone(suite: SuiteSpec, registry: Registry, backbone: Plugin, place: KeyPath) -> PluginSpec:
    return _resolve(suite, registry, "backbones", backbone.name, backbone.args, (*place, backbone.name))


def refresh(suite: SuiteSpec, registry: Registry, position: int) -> None:
    """Look at every file of the data set at ``position``.

    Images that were rewritten in place then make other runs.
    """
    written = suite.datasets[position]
    with suppress(UsageError):  # raised again, with the place in the file, when the data set is resolved
        registry.refresh(written.name, _folder(suite, written) | written.args)


def _folder(suite: SuiteSpec, written: Plugin) -> dict[str, str]:
    """The suite's ``data`` as an argument of a data set without a folder."""
    return {"folder": suite.data} if suite.data is not None and "folder" not in written.args else {}


def dataset_part(suite: SuiteSpec, registry: Registry, position: int) -> PluginSpec:
    """The data set at ``position``.

    The suite's ``data`` is its folder if it has none of its own.
    """
    written = suite.datasets[position]
    shared = _folder(suite, written)
    at: dict[str, KeyPath] = {"folder": ("data",)} if shared else {}
    place = ("datasets", position, written.name)
    return _resolve(suite, registry, "datasets", written.name, shared | written.args, place, at)


def _second(suite: SuiteSpec, registry: Registry) -> PluginSpec | None:
    """The recipe of the second stage; in a reduced copy, with what it can reduce."""
    if suite.generate is None:
        return None
    name = suite.generate.name
    able = registry.load("recipes", name).reducible if suite.reduced and name in registry.names("recipes") else ()
    smaller = {argument: suite.reduced[argument] for argument in able if argument in suite.reduced}
    return _resolve_recipe(suite, registry, name, suite.generate.args, smaller, ("generate", name))


def _resolve_recipe(
    suite: SuiteSpec,
    registry: Registry,
    name: str,
    args: Mapping[str, Any],
    smaller: Mapping[str, Any],  # arguments of a reduced copy
    place: KeyPath,
) -> PluginSpec:
    """The recipe with the arguments of a reduced copy in place of its own."""
    given = dict(args)
    if smaller and name in registry.names("recipes"):
        replaces = registry.load("recipes", name).replaces
        gone = {other for argument in smaller for other in replaces.get(argument, ())}
        given = {argument: value for argument, value in given.items() if argument not in gone}
    at: dict[str, KeyPath] = {argument: ("reduced", argument) for argument in smaller}
    return _resolve(suite, registry, "recipes", name, {**given, **smaller}, place, at)


def _quantizer(suite: SuiteSpec, registry: Registry, row: SuiteRow, dataset: str) -> PluginSpec:
    """The quantizer of ``row`` on ``dataset``, within the budget.

    Arguments for this data set win over those of the row.
    """
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
    place: KeyPath,  # of the plugin, and of those of its arguments that are not in ``at``
    at: Mapping[str, KeyPath] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> PluginSpec:
    """The plugin with all its arguments.

    An error of the registry gets the place in the file, of the argument if it names one.
    """
    folder = given.get("folder") if kind == "datasets" else None
    try:
        if isinstance(folder, str):
            path_of(folder)
    except UsageError as error:
        raise suite.error((at or {}).get("folder", (*place, "folder")), str(error)) from None
    try:
        return registry.resolve(kind, name, given, fixed or {})
    except UsageError as error:
        for argument in given:
            if f"argument {argument!r}" in str(error):
                place = (at or {}).get(argument, (*place, argument))
                break
        hint = IN_A_FILE if str(error).startswith(f"unknown {kind[:-1]} ") else ""
        raise suite.error(place, f"{error}{hint}") from None
    except AssetError as error:
        if not isinstance(folder, str) or path_of(folder).is_dir():
            raise
        rule = "" if path_of(folder).is_absolute() else RELATIVE
        raise suite.error((at or {}).get("folder", (*place, "folder")), f"{error}{rule}") from None
