"""A suite resolved to runs, and the cache that lets it be known again without torch.

Resolving a suite needs the plugins' classes, so torch. What came out is kept in ``STORE/suites/NAME.json`` together
with the digests of all that went in: the resolved suite, every plugin file consulted, our version. While all are
equal, the kept keys serve; otherwise the suite is resolved anew. The digests are a cache, no part of any key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import vqbench
from vqbench import registry
from vqbench.errors import AbsentData, AssetError, StoreError, UsageError, VqbenchError
from vqbench.planning import expansion, resolved
from vqbench.planning.expansion import expand
from vqbench.planning.jobs import RequiredMetrics
from vqbench.planning.length import Length, length
from vqbench.planning.overrides import Override
from vqbench.planning.schema import Problem
from vqbench.planning.suite import SuiteSpec, load_suite
from vqbench.planning.yamlfile import parse
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store import schema
from vqbench.store.results import ResultStore
from vqbench.store.sampling import Sampling
from vqbench.store.value_name import ValueName
from vqbench.system import reading
from vqbench.system.writing import write_atomically


@dataclass(frozen=True)
class PlannedRun:
    """One run in its place in the table."""

    label: str
    row: int
    dataset: str
    seed: int
    group: str | int | float | bool | None  # what the table groups by: the data set, or the value of an argument
    run: RunSpec
    ceiling: bool  # an upper bound, not a method
    paper_row: str | None = None  # the row and the setting of the paper's table that this one corresponds to
    paper_setting: str | None = None
    latent: str | None = None  # the shape of its codes, as "16²×4"; only where the table tells it
    codes: int | None = None  # a codebook's size, likewise
    second: RunSpec | None = None  # the generator on ``run``, where the suite asks for one

    def stages(self) -> list[RunSpec]:
        """The run and, after it, the one that builds on it."""
        return [self.run] if self.second is None else [self.run, self.second]


@dataclass(frozen=True)
class MetricInfo:
    """What a table must know of a metric."""

    label: str
    unit: str
    better: str
    digits: int
    version: int
    few: int = 0  # from fewer images than this, it ranks nothing
    of_samples: bool = False  # of a second stage's images, not of reconstructions
    by_codebook: bool = False  # comparable between codebooks of one size alone


@dataclass(frozen=True)
class DatasetInfo:
    """What a table and a plan must know of a data set."""

    title: str
    train: int  # images
    test: int
    holdout: int
    notes: Sequence[str] = ()  # what stands below every table of it


@dataclass(frozen=True)
class Plan:
    """A suite's runs, in the order of its table, and what its table must know."""

    suite: SuiteSpec
    entries: list[PlannedRun]
    metrics: dict[str, MetricInfo]
    datasets: dict[str, DatasetInfo]
    inputs: dict[str, Any]  # digests of what this was resolved from
    variant: bool  # the command line changed the suite
    sampling: Sampling | None = None  # of a second stage
    lengths: Mapping[str, Length] = field(default_factory=dict)  # key of a run -> how long it trains

    def length(self, run: RunSpec) -> Length:
        """How long ``run`` trains; nothing is known of it where this plan was kept by an earlier version."""
        return self.lengths.get(run.key) or Length()

    def runs(self) -> list[RunSpec]:
        """Every distinct run once, in order."""
        runs = [entry.run for entry in self.entries] + [entry.second for entry in self.entries if entry.second]
        return list({run.key: run for run in runs}.values())

    def first_of(self, run: RunSpec) -> RunSpec | None:
        """The run that ``run`` builds on, if it is a second stage."""
        return None if run.parent is None else self._first.get(run.parent)

    @cached_property
    def _first(self) -> dict[str, RunSpec]:
        return {entry.run.key: entry.run for entry in self.entries}

    def wanted(self, run: RunSpec | None = None) -> RequiredMetrics:
        """The numbers that ``run`` must have."""
        return self.wanted_of(run is not None and run.parent is not None)

    def wanted_of(self, second: bool) -> RequiredMetrics:
        """The numbers of samples that a second stage must have, or those that any other run must have."""
        infos = {name: info for name, info in self.metrics.items() if info.of_samples == second}
        return {
            self.under(name, second): {
                metric: (info.version, ValueName.parse(name).measuring.VERSION) for metric, info in infos.items()
            }
            for name in self.protocols()
        }

    def under(self, name: str, of_samples: bool) -> str:
        """The name that values of reconstructions, or of samples, are stored under; ``name`` is one of protocols."""
        return str(replace(ValueName.parse(name), sampling=self.sampling)) if of_samples else name

    def protocols(self) -> list[str]:
        """The names that values of this suite are stored under, its table's own protocol first."""
        ordered = dict.fromkeys([*filter(None, [self.suite.table.protocol]), *self.suite.measure])
        return [str(ValueName(name, self.suite.test_images)) for name in ordered]

    @property
    def name(self) -> str:
        """Names this plan among the resolved suites of a store."""
        return f"{self.suite.name}-{self.inputs['suite'][:8]}" if self.variant else self.suite.name

    def save(self, store: ResultStore) -> None:
        content = {
            "inputs": self.inputs,
            "suite": self.suite.dump(),
            "entries": [_entry_to_dict(entry) for entry in self.entries],
            "metrics": {name: asdict(info) for name, info in self.metrics.items()},
            "datasets": {name: asdict(info) for name, info in self.datasets.items()},
            "sampling": self.sampling and f":{self.sampling.name}",
            "lengths": {key: asdict(length) for key, length in self.lengths.items()},
        }
        text = json.dumps({**content, "digest": _digest_of(content)}, indent=1)
        write_atomically(store.root / "suites" / f"{self.name}.json", f"{text}\n".encode())


def load(
    suite: str | Path,
    stores: Sequence[ResultStore],
    overrides: Sequence[Override] = (),
    metrics: Sequence[str] = (),
    reduced: Mapping[str, int] = MappingProxyType({}),
    test_images: int | None = None,
    refresh: bool = False,
) -> Plan:
    """The plan of the suite called ``suite`` (a name or a path), from a store's cache if that is current.

    ``overrides`` change the suite, and ``metrics`` are added to it. ``reduced`` (arguments of the recipe) and
    ``test_images`` make a smaller copy of another name. ``refresh``: every image file in folders of this machine is
    looked at, so that images rewritten in place make other runs; without it, the times of folders alone are compared.
    Raises UsageError for whatever is wrong with the suite.
    """
    spec = load_suite(suite, overrides)
    if metrics:
        spec = load_suite(suite, [*overrides, *_added_metrics(spec, metrics)])
    if reduced or test_images:
        spec = spec.reduce(test_images, **reduced)
    variant = bool(overrides or metrics or reduced or test_images)
    digest = _suite_digest(spec)
    stale = set(range(len(spec.datasets))) if refresh else None
    kept = _kept(spec, digest, variant, stores, stale)
    if kept is not None:
        return kept
    for position in stale or ():
        expansion.refresh(spec, registry, position)
    return _resolve(spec, digest, variant)


def _added_metrics(spec: SuiteSpec, metrics: Sequence[str]) -> list[Override]:
    """The overrides that add ``metrics`` to those of ``spec``, and to the columns of its table."""
    origin = f"--metrics {', '.join(metrics)}"
    changes = [Override("metrics", list(dict.fromkeys([*spec.metrics, *metrics])), origin)]
    if spec.table.columns:
        changes.append(Override("table.columns", list(dict.fromkeys([*spec.table.columns, *metrics])), origin))
    return changes


def keys(suite: Path, stores: Sequence[ResultStore]) -> set[str]:
    """The keys of all runs of a suite, which the last of ``stores`` keeps for the next time. Raises VqbenchError."""
    spec = load_suite(suite)
    digest = _suite_digest(spec)
    plan = _kept(spec, digest, False, stores)
    if plan is None:
        plan = _resolve(spec, digest, False, whole=False)
        with suppress(StoreError):  # it only saves time
            plan.save(stores[-1])
    return {run.key for run in plan.runs()}


def _suite_digest(spec: SuiteSpec) -> str:
    return hashlib.sha256(json.dumps(spec.dump(), sort_keys=True).encode()).hexdigest()


def _kept(
    spec: SuiteSpec, digest: str, variant: bool, stores: Sequence[ResultStore], stale: set[int] | None = None
) -> Plan | None:
    """What the first of ``stores`` that keeps this suite has of it."""
    return next(filter(None, (_cached(store, spec, digest, variant, stale) for store in stores)), None)


def _cached(
    store: ResultStore, spec: SuiteSpec, digest: str, variant: bool, stale: set[int] | None = None
) -> Plan | None:
    """What ``store`` keeps of this suite, if nothing that it was resolved from has changed since."""
    name = f"{spec.name}-{digest[:8]}" if variant else spec.name
    try:
        content = _content(store.root / "suites" / f"{name}.json")
        inputs = content["inputs"]
        current = inputs["suite"] == digest and inputs["vqbench"] == vqbench.__version__
        current = current and "lengths" in content  # earlier versions did not write them
        if not current or any(_digest(plugin) != was for plugin, was in inputs["plugins"].items()):
            return None
        found = _plan(spec, content, variant)
        return found if _still(spec, inputs.get("settled", ()), found, stale) else None
    except (OSError, ValueError, VqbenchError):
        return None  # a cache that cannot be read is no cache: resolve anew


def _still(spec: SuiteSpec, settled: Collection[str], found: Plan, stale: set[int] | None) -> bool:
    """Whether the data sets that are folders of this machine hold what they held; if one is gone, nothing says no.

    ``settled`` are their names. ``stale`` are the positions of data sets whose files are looked at first, one by one;
    None: no file is, and what is wrong with a folder does not matter either. Needs no torch.
    """
    runs = {entry.dataset: entry.run for entry in found.entries}
    for position, written in enumerate(spec.datasets):
        if written.name not in settled:
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
        if now.args == was and _notes(now) != tuple(found.datasets[written.name].notes):
            return False
    return True


def _notes(dataset: PluginSpec) -> tuple[str, ...]:
    """What stands below every table of a data set, such as files that were passed over since."""
    return tuple(registry.load("datasets", dataset.name)(**dataset.args).notes)


def _entry_to_dict(entry: PlannedRun) -> dict[str, Any]:
    content = {**asdict(entry), "run": entry.run.to_dict(), "key": entry.run.key}
    return {**content, "second": entry.second and entry.second.to_dict()}


def _entry_from_dict(content: dict[str, Any]) -> PlannedRun:
    runs: dict[str, Any] = {n: RunSpec.from_dict(content[n]) for n in ("run", "second") if content.get(n)}
    return PlannedRun(**{k: v for k, v in content.items() if k not in ("run", "second", "key")}, **runs)


def _content(path: Path) -> dict[str, Any]:
    """What :meth:`Plan.save` wrote. Raises ValueError for anything else, and for plugins of an unknown kind."""
    content: dict[str, Any] = reading.json_of(path)
    schema.mapping(content, "it")
    if content.pop("digest", None) not in (None, _digest_of(content)):  # the first were written without one
        raise ValueError("its content does not fit its digest")
    resolved.check(content, PlannedRun, MetricInfo, DatasetInfo)
    return content


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plan(spec: SuiteSpec, content: Mapping[str, Any], variant: bool) -> Plan:
    """What :meth:`Plan.save` wrote, as it was resolved then."""
    entries = [_entry_from_dict(entry) for entry in content["entries"]]
    infos = {name: MetricInfo(**info) for name, info in content["metrics"].items()}
    datasets = {name: DatasetInfo(**info) for name, info in content["datasets"].items()}
    sampling = Sampling.parse(content["sampling"].removeprefix(":")) if content.get("sampling") else None
    lengths = {key: Length(**length) for key, length in content.get("lengths", {}).items()}
    return Plan(spec, entries, infos, datasets, content["inputs"], variant, sampling, lengths)


def stored(store: ResultStore) -> list[Plan]:
    """Every suite that was resolved for ``store``, as it was resolved then; a damaged file is noted in its damage."""
    plans = []
    for path in sorted((store.root / "suites").glob("*.json")):
        try:
            content = _content(path)
            spec = SuiteSpec.from_document(parse(content["suite"], str(path)))
            plans.append(_plan(spec, content, path.stem != spec.name))
        except (OSError, ValueError, VqbenchError) as error:
            store.damage[path] = f"{path}: not a resolved suite ({error}); delete it, `vqbench run` writes it anew"
    return plans


def _digest(plugin: str) -> str | None:
    kind, name = plugin.split("/")
    return registry.digest(kind, name) if name in registry.sources(kind) else None  # type: ignore[arg-type]  # its kind was checked by ``_content``


def _require_second_stage(spec: SuiteSpec) -> None:
    """What a suite has under ``generate`` must be one; whether it is known, and its arguments, are checked later."""
    if spec.generate is None or (name := spec.generate.name) not in registry.names("recipes"):
        return
    others = [each for each in registry.names("recipes") if hasattr(registry.load("recipes", each), "sampler")]
    if name not in others:
        raise spec.error(("generate",), f"{name!r} trains no second stage; {' and '.join(others)} do")


def _sampling(spec: SuiteSpec, infos: dict[str, MetricInfo]) -> Sampling | None:
    """How the second stage is sampled, if there is one: it and numbers of samples need each other."""
    of_samples = [name for name, info in infos.items() if info.of_samples]
    if of_samples and spec.generate is None:
        raise spec.error(
            ("metrics", spec.metrics.index(of_samples[0])),
            f"{of_samples[0]!r} measures generated images; give the suite a second stage by `generate`",
        )
    if spec.generate is not None and not 0 < len(of_samples) < len(infos):
        raise spec.error(
            ("metrics",), "a suite with a second stage needs at least one metric of samples (fid) and one of the first"
        )
    if spec.generate is None:
        return None
    recipe: Any = registry.load("recipes", name := spec.generate.name)
    try:
        return spec.samples.sampling(name, recipe.sampler)
    except Problem as problem:
        raise spec.error(problem.path, str(problem)) from None


def _resolve(spec: SuiteSpec, digest: str, variant: bool, whole: bool = True) -> Plan:
    """``whole``: with what a table shows of models, and only if all runs can be carried out."""
    from vqbench.dataset import Dataset
    from vqbench.planning.feasibility import require_feasible
    from vqbench.planning.latent_shape import code_shape

    _require_second_stage(spec)
    expanded = expand(spec)
    data: dict[str, Any] = {}  # as the suite calls them
    for each in expanded:
        if each.dataset not in data:
            data[each.dataset] = registry.create("datasets", each.run.dataset.name, **each.run.dataset.args)
    told = whole and {"latent", "codes"} & set(spec.table.columns or [])
    entries = [
        PlannedRun(
            label=entry.label,
            row=entry.row,
            dataset=entry.dataset,
            seed=entry.seed,
            group=entry.group,
            run=entry.run,
            second=entry.second,
            paper_row=entry.paper.row if entry.paper else None,
            paper_setting=entry.paper.setting if entry.paper else None,
            ceiling=registry.load("quantizers", entry.run.quantizer.name).upper_bound,
            **(asdict(code_shape(entry.run, data[entry.dataset].channels, data[entry.dataset].size)) if told else {}),
        )
        for entry in expanded
    ]
    infos = {}
    for name in spec.metrics:
        metric: Any = registry.load("metrics", name)
        version = registry.version("metrics", name)
        with registry.contained("metrics", name):
            infos[name] = MetricInfo(
                metric.label,
                metric.unit,
                metric.better,
                metric.digits,
                version,
                metric.few,
                metric.of_samples,
                metric.by_codebook,
            )
    sampling = _sampling(spec, infos)
    datasets = {}
    for name, part in {entry.dataset: entry.run.dataset for entry in entries}.items():
        each = data[name]
        with registry.contained("datasets", part.name):
            datasets[name] = DatasetInfo(
                each.title, each.counts["train"], each.counts["test"], each.holdout, each.notes
            )
    if whole:
        require_feasible(spec, expanded, data, sampling)
    plugins = {f"metrics/{name}" for name in spec.metrics}
    for entry in entries:
        run = entry.run
        plugins |= {f"quantizers/{run.quantizer.name}", f"backbones/{run.backbone.name}"}
        plugins |= {f"datasets/{run.dataset.name}", *(f"recipes/{each.recipe.name}" for each in entry.stages())}
    inputs: dict[str, Any] = {
        "suite": digest,
        "vqbench": vqbench.__version__,
        "plugins": {plugin: _digest(plugin) for plugin in sorted(plugins)},
    }
    plain = getattr(Dataset.canonical_args, "__func__", None)
    if settled := [
        name for name, each in data.items() if getattr(type(each).canonical_args, "__func__", None) is not plain
    ]:
        inputs["settled"] = settled
    return Plan(spec, entries, infos, datasets, inputs, variant, sampling, _lengths(spec, entries, datasets))


def _lengths(spec: SuiteSpec, entries: Sequence[PlannedRun], datasets: Mapping[str, DatasetInfo]) -> dict[str, Length]:
    """How long every run trains. An error gets the place in the file."""
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
                    raise spec.error(place if run.parent is None else ("generate",), str(error)) from error
            lengths[run.key] = known[alike]
    return lengths
