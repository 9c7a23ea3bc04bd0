"""Plans: a suite resolved to runs, with the facts that its table shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vqbench.spec import RequiredMetrics, RunSpec
from vqbench.store.value_name import Sampling, ValueName

if TYPE_CHECKING:  # pydantic is only needed to read suites
    from vqbench.planning.suite import SuiteSpec


@dataclass(frozen=True)
class PlannedRun:
    """One run in its place in a suite's table.

    Two places, and two suites, may share a run.
    """

    label: str  # of the row, without what the suite's table groups by
    row: int  # position among the rows of the suite, grids expanded
    dataset: str  # as the suite names it
    seed: int
    group: str | int | float | bool | None  # what the table groups by: the data set, or the value of an argument
    run: RunSpec
    upper_bound: bool = False  # an upper bound, not a method
    batch_dependent: bool = False  # its codes depend on the batch in evaluation too
    paper_row: str | None = None  # the row and the setting of the paper's table that this one corresponds to
    paper_setting: str | None = None
    latent: str | None = None  # the shape of its codes, as "16²×4"; only where the table shows it
    codes: int | None = None  # the size of its codebook, likewise
    second: RunSpec | None = None  # the generator on ``run``, where the suite asks for one

    def stages(self) -> list[RunSpec]:
        """The run and, after it, the one that builds on it."""
        return [self.run] if self.second is None else [self.run, self.second]


@dataclass(frozen=True)
class MetricInfo:
    """What a table shows of a metric, kept so that no plugin is needed."""

    label: str
    unit: str
    better: str
    digits: int
    version: int
    few: int = 0  # with fewer images than this, it is not ranked
    of_samples: bool = False  # of a second stage's images, not of reconstructions
    by_codebook: bool = False  # comparable only between codebooks of one size
    rate: bool = False  # bits that the codes cost, a part of the budget
    of_codes: bool = False  # says nothing of images
    groups: Sequence[str] = ()  # that it is in under the suite's protocols


@dataclass(frozen=True)
class DatasetInfo:
    """What a table and a plan show of a data set, kept so that no plugin is needed."""

    title: str
    train: int  # images
    test: int
    holdout: int
    notes: Sequence[str] = ()  # lines below every table of it
    size: int | None = None  # height and width in pixels; None in plans of earlier versions


@dataclass(frozen=True)
class Length:
    """The length of one training. None if its recipe cannot state it beforehand."""

    updates: int | None = None  # of the optimizer
    shown: int | None = None  # images in all updates, repetitions counted
    about: str = ""  # for how long and how fast, for a table: "2 epochs, batch 64"


@dataclass(frozen=True)
class Plan:
    """A suite's runs, in the order of its table, and facts of their parts."""

    suite: SuiteSpec
    entries: list[PlannedRun]
    metrics: dict[str, MetricInfo]
    datasets: dict[str, DatasetInfo]
    inputs: dict[str, Any]  # digests of what this was resolved from
    variant: bool  # the command line changed the suite
    sampling: Sampling | None = None  # of a second stage
    lengths: Mapping[str, Length] = field(default_factory=dict)  # key of a run -> length of its training

    def length(self, run: RunSpec) -> Length:
        """The length of training ``run``.

        It is unknown if an earlier version of vqbench wrote this plan.
        """
        return self.lengths.get(run.key) or Length()

    def runs(self) -> list[RunSpec]:
        """Every distinct run once, in order, each after the one that it builds on."""
        runs = [entry.run for entry in self.entries if entry.run.parent is None]
        runs += [entry.run for entry in self.entries if entry.run.parent is not None]
        runs += [entry.second for entry in self.entries if entry.second]
        return list({run.key: run for run in runs}.values())

    def first_of(self, run: RunSpec) -> RunSpec | None:
        """The run that ``run`` builds on, if there is one."""
        return None if run.parent is None else self._first.get(run.parent)

    @cached_property
    def _first(self) -> dict[str, RunSpec]:
        return {entry.run.key: entry.run for entry in self.entries}

    def image_size(self, run: RunSpec) -> int | None:
        """Height and width in pixels of the images of ``run``.

        None for second stages, and in plans of earlier versions.
        """
        return self._sizes.get(run.key)

    @cached_property
    def _sizes(self) -> dict[str, int | None]:
        return {entry.run.key: self.datasets[entry.dataset].size for entry in self.entries}

    def label(self, run: RunSpec) -> str:
        """The label of the first row with ``run``; of a second stage, its first's.

        It includes the argument that the table groups by, unless it groups by data set.
        """
        return self._labels[run.key] if run.key in self._labels else self._labels[run.parent or ""]

    @cached_property
    def _labels(self) -> dict[str, str]:
        return {entry.run.key: self._label(entry) for entry in reversed(self.entries)}

    def _label(self, entry: PlannedRun) -> str:
        table = self.suite.table
        if table.group == "dataset":
            return entry.label
        return f"{entry.label}, {table.group_text(entry.group).replace(' = ', '=')}"

    def wanted(self, run: RunSpec | None = None) -> RequiredMetrics:
        """The numbers that ``run`` must have."""
        return self.wanted_of(run is not None and self.generates(run))

    def generates(self, run: RunSpec) -> bool:
        """Whether ``run`` is a second stage."""
        return run.key in self._seconds

    @cached_property
    def _seconds(self) -> set[str]:
        return {entry.second.key for entry in self.entries if entry.second}

    def wanted_of(self, second: bool) -> RequiredMetrics:
        """The values that a second stage must have, or those of any other run."""
        infos = {name: info for name, info in self.metrics.items() if info.of_samples == second}
        return {
            self.under(name, second): {
                metric: (info.version, ValueName.parse(name).measuring.VERSION) for metric, info in infos.items()
            }
            for name in self.protocols()
        }

    def under(self, name: str, of_samples: bool) -> str:
        """The name that values of reconstructions, or of samples, are stored under.

        ``name`` is one of :meth:`protocols`.
        """
        return str(replace(ValueName.parse(name), sampling=self.sampling)) if of_samples else name

    def protocols(self) -> list[str]:
        """The names that values of reconstructions are stored under.

        The one that the table shows is first.
        """
        ordered = dict.fromkeys([*filter(None, [self.suite.table.protocol]), *self.suite.measure])
        return [str(ValueName(name, self.suite.test_images)) for name in ordered]

    @property
    def name(self) -> str:
        """The name of this plan among the resolved suites of a store."""
        return f"{self.suite.name}-{self.inputs['suite'][:8]}" if self.variant else self.suite.name
