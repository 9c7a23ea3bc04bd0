"""Load the plan of a suite: a kept one if it is current, or else resolved anew.

To resolve a suite, the classes of its plugins are needed, so torch. The result is kept in ``STORE/suites/NAME.json``
with the digests of all that went in: the suite with its overrides, every plugin file consulted, our version. While all
are equal, the kept plan is used. These digests are a cache, no part of any key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import vqbench
from vqbench import protocol, registry
from vqbench.errors import AbsentData, AssetError, StoreError, UsageError, VqbenchError
from vqbench.planning import expansion, plan_file
from vqbench.planning.cost import length
from vqbench.planning.expansion import expand
from vqbench.planning.overrides import Override
from vqbench.planning.plan import DatasetInfo, Length, MetricInfo, Plan, PlannedRun
from vqbench.planning.schema import Problem
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import changed_suite, load_suite
from vqbench.registry import metric_groups
from vqbench.spec import PluginSpec
from vqbench.store.results import ResultStore
from vqbench.store.value_name import Sampling


def load(
    suite: str | Path,
    stores: Sequence[ResultStore],
    overrides: Sequence[Override] = (),
    metrics: Sequence[str] = (),
    reduced: Mapping[str, int] = MappingProxyType({}),
    test_images: int | None = None,
    refresh: bool = False,
) -> Plan:
    """Load the plan of a suite, from the first store that keeps a current one.

    Args:
        suite: the suite's name, or the path of its file.
        stores: results folders whose kept plans are looked at.
        overrides: changes of the suite.
        metrics: metrics that are added to those of the suite; a group of them takes their place.
        reduced: arguments of the recipe that make a smaller copy of the suite, under another name.
        test_images: likewise, only the first so many test images are measured.
        refresh: look at every image file in folders of this machine, so that images rewritten in place make other
            runs; without it, only the times of folders are compared.

    Raises:
        UsageError: for whatever is wrong with the suite, with its place in the file.
    """
    spec = changed_suite(suite, overrides, metrics, reduced, test_images)
    return load_spec(spec, bool(overrides or metrics or reduced or test_images), stores, refresh)


def load_spec(
    spec: SuiteSpec, variant: bool, stores: Sequence[ResultStore], refresh: bool = False, cache: Path | None = None
) -> Plan:
    """Load the plan of a suite that was read already, otherwise like :func:`load`.

    ``variant``: it differs from its file. ``cache``: a folder of this user, where plans that no store keeps are kept
    for the next call of this version of the code; one that cannot be written is done without.
    """
    digest = _suite_digest(spec)
    stale = set(range(len(spec.datasets))) if refresh else None
    own = [] if cache is None else _store_of_plans(cache)
    kept = _kept(spec, digest, variant, [*stores, *own], stale)
    if kept is not None:
        return kept
    for position in stale or ():
        expansion.refresh(spec, registry, position)
    plan = resolve(spec, digest, variant)
    for store in own:
        with suppress(StoreError):  # it only saves time
            plan_file.save(plan, store)
    return plan


def keys(suite: Path, stores: Sequence[ResultStore]) -> set[str]:
    """Return the keys of all runs of a suite.

    The last of ``stores`` keeps them for the next time. Raises VqbenchError.
    """
    spec = load_suite(suite)
    digest = _suite_digest(spec)
    plan = _kept(spec, digest, False, stores)
    if plan is None:
        plan = resolve(spec, digest, False, whole=False)
        with suppress(StoreError):  # it only saves time
            plan_file.save(plan, stores[-1])
    return {run.key for run in plan.runs()}


def _store_of_plans(cache: Path) -> list[ResultStore]:
    """The store of plans in ``cache``; empty where it cannot be used."""
    try:
        return [ResultStore(cache / _code_digest())]
    except (OSError, VqbenchError):
        return []


def _code_digest() -> str:
    """Identify the code that resolves suites.

    By the names, sizes and times of its files; those of plugins are identified in a plan itself. Plans of other
    checkouts, or from before an edit, are thus never taken for current ones.
    """
    root = Path(vqbench.__file__).parent
    files = sorted(
        path for folder in (".", "planning", "registry", "store", "functional") for path in (root / folder).glob("*.py")
    )
    facts = [str(root), *(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _suite_digest(spec: SuiteSpec) -> str:
    return hashlib.sha256(json.dumps(spec.dump(), sort_keys=True).encode()).hexdigest()


# Kept plans -----------------------------------------------------------------------------------------------------------


def _kept(
    spec: SuiteSpec, digest: str, variant: bool, stores: Sequence[ResultStore], stale: set[int] | None = None
) -> Plan | None:
    """The plan of this suite in the first of ``stores`` that keeps a current one."""
    return next(filter(None, (_current(store, spec, digest, variant, stale) for store in stores)), None)


def _current(
    store: ResultStore, spec: SuiteSpec, digest: str, variant: bool, stale: set[int] | None = None
) -> Plan | None:
    """The plan of this suite in ``store``, if its inputs have not changed."""
    name = f"{spec.name}-{digest[:8]}" if variant else spec.name
    try:
        content = plan_file.read(plan_file.path_of(store, name))
        inputs = content["inputs"]
        current = inputs["suite"] == digest and inputs["vqbench"] == vqbench.__version__
        current = current and "lengths" in content  # earlier versions did not write them
        current = current and all(info.get("size") for info in content["datasets"].values())  # likewise
        if not current or any(_plugin_digest(plugin) != was for plugin, was in inputs["plugins"].items()):
            return None
        plan = plan_file.plan_of(spec, content, variant)
        return plan if _same_data(spec, inputs.get("settled", ()), plan, stale) else None
    except (OSError, ValueError, VqbenchError):
        return None  # a cache that cannot be read is no cache: resolve anew


def _same_data(spec: SuiteSpec, on_disk: Collection[str], plan: Plan, stale: set[int] | None) -> bool:
    """Whether the folders of data sets have the content that they had.

    Folders that are absent count as unchanged. ``on_disk`` are their names. ``stale`` are the positions of data sets
    whose files are looked at first, one by one; None: no file is, and what is wrong with a folder does not matter
    either. Needs no torch.
    """
    runs = {entry.dataset: entry.run for entry in plan.entries}
    for position, written in enumerate(spec.datasets):
        if written.name not in on_disk:
            continue
        if position in (stale or ()):
            expansion.refresh(spec, registry, position)
            (stale or set()).discard(position)
        try:
            now = expansion.dataset_part(spec, registry, position)
        except AbsentData:
            continue
        except (AssetError, UsageError):
            if stale is None:
                continue
            return False
        was = runs[written.name].dataset.args
        if now.args != was and now.args != {**was, "content": None}:
            return False
        if now.args == was and _notes(now) != tuple(plan.datasets[written.name].notes):
            return False
    return True


def _notes(dataset: PluginSpec) -> tuple[str, ...]:
    """The lines below every table of a data set, such as files that were left out."""
    return tuple(registry.load("datasets", dataset.name)(**dataset.args).notes)


def _plugin_digest(plugin: str) -> str | None:
    """The digest of a plugin, written as ``kind/name``; None if unknown."""
    kind, name = plugin.split("/")
    return registry.digest(kind, name) if name in registry.sources(kind) else None  # type: ignore[arg-type]  # its kind was checked when the file was read


# Resolving ------------------------------------------------------------------------------------------------------------


def resolve(spec: SuiteSpec, digest: str, variant: bool, whole: bool = True) -> Plan:
    """Resolve a suite to its plan.

    ``digest``: of the suite. ``variant``: it was changed by the command line. ``whole``: with what a table shows of
    models, and only if all runs can be carried out.
    """
    from vqbench.planning.feasibility import require_feasible

    _require_second_stage(spec)
    expanded = expand(spec)
    data: dict[str, Any] = {}  # as the suite names them
    for entry in expanded:
        if entry.dataset not in data:
            data[entry.dataset] = registry.create("datasets", entry.run.dataset.name, **entry.run.dataset.args)
    shapes = whole and bool({"latent", "codes"} & set(spec.table.columns or []))
    entries = [_described(entry, data[entry.dataset], shapes) for entry in expanded]
    infos = {name: _metric_info(name, spec.measure) for name in spec.metrics}
    sampling = _sampling(spec, infos)
    parts = {entry.dataset: entry.run.dataset for entry in entries}
    datasets = {name: _dataset_info(part, data[name]) for name, part in parts.items()}
    if whole:
        require_feasible(spec, entries, data, sampling)
    inputs: dict[str, Any] = {
        "suite": digest,
        "vqbench": vqbench.__version__,
        "plugins": {plugin: _plugin_digest(plugin) for plugin in _plugins(spec, entries)},
    }
    if on_disk := [name for name, dataset in data.items() if dataset.on_disk]:
        inputs["settled"] = on_disk
    return Plan(spec, entries, infos, datasets, inputs, variant, sampling, _lengths(spec, entries, datasets))


def _require_second_stage(spec: SuiteSpec) -> None:
    """Raise UsageError if the recipe under ``generate`` is no second stage.

    Unknown recipes and arguments are checked later.
    """
    if spec.generate is None or (name := spec.generate.name) not in (known := registry.names("recipes")):
        return
    if not registry.load("recipes", name).second_stage:
        others = [each for each in known if registry.load("recipes", each).second_stage]
        raise spec.error(("generate",), f"{name!r} trains no second stage; {' and '.join(others)} do")


def _described(entry: PlannedRun, dataset: Any, shapes: bool) -> PlannedRun:
    """Add to ``entry`` what a table shows of its quantizer.

    With ``shapes``, also the shape of its codes.
    """
    from vqbench.planning.feasibility import code_shape

    quantizer = registry.load("quantizers", entry.run.quantizer.name)
    shape = asdict(code_shape(entry.run, dataset.channels, dataset.size)) if shapes else {}
    return replace(entry, upper_bound=quantizer.upper_bound, batch_dependent=quantizer.batch_dependent, **shape)


def _metric_info(name: str, measure: Sequence[str]) -> MetricInfo:
    metric = registry.load("metrics", name)
    version = registry.version("metrics", name)
    groups = metric_groups.groups_of(name, [protocol.measuring(each) for each in measure])
    with registry.contained("metrics", name):
        return MetricInfo(
            metric.label,
            metric.unit,
            metric.better,
            metric.digits,
            version,
            metric.few,
            metric.of_samples,
            metric.by_codebook,
            metric.rate,
            metric.needs_codes,
            groups,
        )


def _dataset_info(part: PluginSpec, dataset: Any) -> DatasetInfo:
    with registry.contained("datasets", part.name):
        counts = dataset.counts
        return DatasetInfo(dataset.title, counts["train"], counts["test"], dataset.holdout, dataset.notes, dataset.size)


def _sampling(spec: SuiteSpec, infos: dict[str, MetricInfo]) -> Sampling | None:
    """The sampling of the second stage, if the suite has one.

    A second stage and metrics of samples need each other.
    """
    of_samples = [name for name, info in infos.items() if info.of_samples]
    if of_samples and spec.generate is None:
        raise spec.error(
            ("metrics", spec.metrics.index(of_samples[0])),
            f"{of_samples[0]!r} measures a second stage; give the suite one by `generate`",
        )
    if spec.generate is not None and not 0 < len(of_samples) < len(infos):
        raise spec.error(
            ("metrics",), "a suite with a second stage needs at least one metric of samples (fid) and one of the first"
        )
    if spec.generate is None:
        return None
    recipe: Any = registry.load("recipes", name := spec.generate.name)
    for metric in of_samples:
        cls: Any = registry.load("metrics", metric)
        if cls.of_likelihood and not recipe.likelihood:
            raise spec.error(
                ("metrics", spec.metrics.index(metric)),
                f"{metric!r} measures the likelihood of codes, which {name!r} does not give; leave it out",
            )
    try:
        return spec.samples.sampling(name, recipe)
    except Problem as problem:
        raise spec.error(problem.path, str(problem)) from None


def _plugins(spec: SuiteSpec, entries: Sequence[PlannedRun]) -> list[str]:
    """Every plugin that the suite uses, as ``kind/name``."""
    plugins = {f"metrics/{name}" for name in spec.metrics}
    for entry in entries:
        run = entry.run
        plugins |= {f"quantizers/{run.quantizer.name}", f"backbones/{run.backbone.name}"}
        plugins |= {f"datasets/{run.dataset.name}", *(f"recipes/{each.recipe.name}" for each in entry.stages())}
    return sorted(plugins)


def _lengths(spec: SuiteSpec, entries: Sequence[PlannedRun], datasets: Mapping[str, DatasetInfo]) -> dict[str, Length]:
    """The length of every training, by key. An error gets the place in the file."""
    known: dict[str, Length] = {}  # by what decides on it: many runs share a recipe
    lengths = {}
    sources = [row.source for row in spec.rows()]
    for entry in entries:
        for run in entry.stages():
            alike = json.dumps([run.recipe.to_dict(), entry.dataset], sort_keys=True)
            if alike not in known:
                own: tuple[str | int, ...] = ("quantizers", sources[entry.row], "train")
                place = own if spec.quantizers[sources[entry.row]].train else ("train",)
                try:
                    known[alike] = length(run.recipe, datasets[entry.dataset])
                except UsageError as error:
                    raise spec.error(("generate",) if run == entry.second else place, str(error)) from error
            lengths[run.key] = known[alike]
    return lengths
