"""Does the order that the paper prints hold in ours? For every data set and metric, in sentences for below a table.

The row that the paper prints as best is held against every row that it prints as worse. Where a metric has values per
image, the answer is the share of paired bootstrap resamples in which the paper's best is ahead of the other row, of
the same images and, with several, the same seeds, each trained by the same machines. Where it has none, as rFID, only
means over seeds are compared. With one seed an answer is about two trained models, and never about how they were
trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from vqbench.planning.plan import Plan, PlannedRun
from vqbench.reporting import paper, statistics
from vqbench.reporting.verdict import order_verdict
from vqbench.spec import RunSpec
from vqbench.store.record import Record
from vqbench.store.results import ResultStore
from vqbench.system.console import one_line
from vqbench.system.machine import Origin, origins_of, same_origin

HOLDS = 0.975  # the share from which an order holds; it is reversed up to 1 − HOLDS, and open between
RESAMPLES = (200, 2000)  # at least and at most
DRAWS = 100_000_000  # images drawn for all comparisons of a table: between 1 and 2 seconds


@dataclass(frozen=True)
class SeedValues:
    """One metric of one row: by seed, its value and, where the metric has them, its values per image (N,)."""

    name: str
    values: dict[int, float]
    images: dict[int, NDArray[np.float32]]
    origins: dict[int, tuple[Origin, ...]]  # of each value


@dataclass(frozen=True)
class Pair:
    """The paper's best row, ``a``, and one that it prints as worse, ``b``, on the ``seeds`` that both have.

    ``a`` and ``b`` are (seeds, N) where every image has a value, and (seeds, 1) where only runs have.
    """

    best: str
    other: str
    seeds: tuple[int, ...]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    by_image: bool

    @property
    def basis(self) -> tuple[bool, int, tuple[int, ...]]:
        """What an answer rests on: whether on values per image, how many, which seeds."""
        return self.by_image, self.a.shape[1], self.seeds


@dataclass(frozen=True)
class RankingCheck:
    """One data set and metric: what could be compared, and the rows that could not be, each with the reason."""

    dataset: str
    metric: str
    pairs: list[Pair]
    without: list[tuple[str, str]]


def order_lines(plan: Plan, stores: Sequence[ResultStore], protocol: str, caveat: str = "") -> list[str]:
    """A sentence on the method, then one for each data set and metric of which the paper's best row was measured.

    Records are looked for in ``stores``, in order; only values under ``protocol`` count. ``caveat`` says why these are
    not the printed quantities, if so. Empty where nothing can be compared: what was not run supports no claim. Values
    per image that do not belong to their record are noted in the damage of its store, and not compared.
    """
    number = plan.suite.paper
    if number is None:
        return []
    reader = _RowReader(plan, stores, protocol)
    contests = [_contest(reader, number, *at) for at in product(plan.datasets, plan.metrics)]
    contests = [contest for contest in contests if contest.pairs]
    if not contests:
        return []
    pairs = [pair for contest in contests for pair in contest.pairs]
    resamples = _resamples(pairs)
    lines = [line for contest in contests for line in _lines(plan, contest, resamples)]
    return [_method(resamples, max(len(pair.seeds) for pair in pairs), caveat), *lines]


# What is compared -----------------------------------------------------------------------------------------------------


class _RowReader:
    """What the stores hold of a plan's rows under one protocol; every file is read once."""

    def __init__(self, plan: Plan, stores: Sequence[ResultStore], protocol: str) -> None:
        self.plan, self.stores, self.protocol = plan, stores, protocol
        self._records: dict[str, tuple[Record, ResultStore] | None] = {}
        self._images: dict[str, dict[str, NDArray[np.float32]]] = {}

    def rows(self, dataset: str) -> list[list[PlannedRun]]:
        """The entries of every row on ``dataset``, one a seed."""
        here = [entry for entry in self.plan.entries if entry.dataset == dataset]
        return [[entry for entry in here if entry.row == row] for row in dict.fromkeys(entry.row for entry in here)]

    def measured(self, entries: Sequence[PlannedRun], metric: str) -> SeedValues:
        """What the runs of one row have of ``metric``, in the version that the table wants."""
        values, by_image, origins = {}, {}, {}
        for entry in entries:
            value, each = self._run(entry.run, metric)
            if value is not None:
                values[entry.seed] = value
                origins[entry.seed] = self._origins(entry.run)
            if value is not None and each is not None:
                by_image[entry.seed] = each
        return SeedValues(self._name(entries[0]), values, by_image, origins)

    def _name(self, entry: PlannedRun) -> str:
        """The row's label, with its setting where the table has another row of that label."""
        rows = {e.row for e in self.plan.entries if e.label == entry.label}
        return one_line(entry.label if len(rows) == 1 else f"{entry.label} ({entry.paper_setting or entry.group})")

    def _run(self, run: RunSpec, metric: str) -> tuple[float | None, NDArray[np.float32] | None]:
        found = self._record(run)
        value = found[0].values.get(self.protocol, {}).get(metric) if found else None
        wanted = self.plan.wanted()[self.protocol][metric]
        if found is None or value is None or (value.metric_version, value.protocol_version) != wanted:
            return None, None
        each = self._arrays(run, found[1]).get(f"{self.protocol}/{metric}")
        if each is not None and each.shape != (value.images,):
            path = found[1].folder(run) / "per_image.npz"
            found[1].damage[path] = (
                f"{path}: values of shape {each.shape} for the {value.images} images that {metric} was measured on; "
                "delete it and the record beside it, and `vqbench run` measures again"
            )
            return value.value, None
        return value.value, each

    def _origins(self, run: RunSpec) -> tuple[Origin, ...]:
        found = self._record(run)
        return origins_of(found[0].made) if found else ()

    def _record(self, run: RunSpec) -> tuple[Record, ResultStore] | None:
        if run.key not in self._records:
            found = ((record, store) for store in self.stores if (record := store.sound(run)) is not None)
            self._records[run.key] = next(found, None)
        return self._records[run.key]

    def _arrays(self, run: RunSpec, store: ResultStore) -> dict[str, NDArray[np.float32]]:
        if run.key not in self._images:
            self._images[run.key] = store.images(run)
        return self._images[run.key]


def _contest(reader: _RowReader, number: str, dataset: str, metric: str) -> RankingCheck:
    """The paper's best row against all that it prints as worse, these in the printed order."""
    printed: dict[int, float] = {}  # position of a row -> its printed value
    rows = reader.rows(dataset)
    for i, entries in enumerate(rows):
        row, setting = entries[0].paper_row or entries[0].label, entries[0].paper_setting or ""
        if (cell := paper.lookup(number, row, dataset, metric, setting)) is not None:
            printed[i] = float(cell.printed)
    sign = -1 if reader.plan.metrics[metric].better == "max" else 1
    ranked = sorted(printed, key=lambda i: sign * printed[i])
    level = [i for i in ranked if printed[i] == printed[ranked[0]]]
    found = {i: reader.measured(rows[i], metric) for i in ranked}
    best = next((found[i] for i in level if found[i].values), None)  # of several printed as best, the first that ran
    pairs, without = [], []
    for other in (found[i] for i in ranked if i not in level):
        compared = _compared(best, other) if best else "not run"
        if isinstance(compared, Pair):
            pairs.append(compared)
        else:
            without.append((compared, other.name))
    return RankingCheck(dataset, metric, pairs, without)


def _compared(best: SeedValues, other: SeedValues) -> Pair | str:
    """The two on the seeds that both have of one origin, with values per image if these are stored; else why not."""
    common = best.values.keys() & other.values.keys()
    alike = {seed for seed in common if same_origin(best.origins[seed], other.origins[seed])}
    if common and not alike:
        return "trained on another machine"
    seeds = sorted(best.images.keys() & other.images.keys() & alike)
    by_image = bool(seeds)
    if by_image:
        a, b = (np.stack([row.images[seed] for seed in seeds]).astype(np.float64) for row in (best, other))
    else:
        seeds = sorted(alike)
        a, b = (np.array([[row.values[seed]] for seed in seeds], dtype=np.float64) for row in (best, other))
    if not seeds:
        return "not run with the same seed" if other.values else "not run"
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "values that are not finite"
    return Pair(best.name, other.name, tuple(seeds), a, b, by_image)


# What is said ---------------------------------------------------------------------------------------------------------


def _resamples(pairs: Sequence[Pair]) -> int:
    """As many as :data:`DRAWS` allows, the same for all pairs; 0 where none has values per image."""
    count = sum(pair.a.shape[1] for pair in pairs if pair.by_image)
    least, most = RESAMPLES
    return max(least, min(most, DRAWS // count)) if count else 0


def _method(resamples: int, seeds: int, caveat: str) -> str:
    said = [
        "Does the printed order hold? The row that the paper prints as best is held against those printed as worse."
    ]
    if resamples:
        said.append(
            f"Percentages: in how many of {resamples:,} paired bootstrap resamples (the same images and seeds for "
            f"both rows) it is ahead in ours; the order holds from {100 * HOLDS:g} %, is reversed up to "
            f"{100 - 100 * HOLDS:g} % and open between, without correction for the number of comparisons."
        )
    if resamples and seeds > 1:
        said.append(
            f"With n seeds the spread between trainings is understated by (n − 1) / n; here n is at most {seeds}."
        )
    if caveat:
        said.append(f"Ours are not the printed quantities: {caveat}.")
    return " ".join(said)


def _lines(plan: Plan, contest: RankingCheck, resamples: int) -> list[str]:
    """One line for neighbours on the same basis: a second one only where some rows lack a seed."""
    where = f"{plan.datasets[contest.dataset].title}, {plan.metrics[contest.metric].label}"
    better = cast(Literal["min", "max"], plan.metrics[contest.metric].better)
    lines = []
    for (by_image, count, seeds), same in groupby(contest.pairs, key=lambda pair: pair.basis):
        pairs = list(same)
        if by_image:
            said = _by_image(pairs, better, resamples)
            basis = f"{count:,} images"
        else:
            said = _by_means(pairs, better, plan.metrics[contest.metric].digits)
            basis = "by means over seeds alone, for want of values per image"
        lines.append(f"{where}: {said}; {basis}, {_about(len(seeds))}")
    if contest.without:
        lines[-1] += "; " + "; ".join(f"{reason}: {name}" for reason, name in contest.without)
    return [f"{line}." for line in lines]


def _about(seeds: int) -> str:
    return "one seed: no claim about training" if seeds == 1 else f"{seeds} seeds"


def _by_image(pairs: Sequence[Pair], better: Literal["min", "max"], resamples: int) -> str:
    answers = []
    for pair in pairs:
        share = order_verdict(pair.a, pair.b, better, resamples)
        answers.append(f"{pair.other} in {100 * share:.1f} % ({_word(share)})")
    return f"{pairs[0].best} is ahead of {', '.join(answers)}"


def _word(share: float) -> str:
    if share >= HOLDS:
        return "holds"
    return "reversed" if share <= 1 - HOLDS else "open"


def _by_means(pairs: Sequence[Pair], better: Literal["min", "max"], digits: int) -> str:
    ours = statistics.mean(list(pairs[0].a[:, 0]))  # the same in all pairs, whose seeds are the same
    answers = []
    for pair in pairs:
        theirs = statistics.mean(list(pair.b[:, 0]))
        gain = theirs - ours if better == "min" else ours - theirs
        place = "level with" if gain == 0 else "ahead of" if gain > 0 else "behind"
        answers.append(f"{place} {pair.other}, {theirs:.{digits}f}")
    return f"{pairs[0].best}, {ours:.{digits}f}, is {'; '.join(answers)}"
