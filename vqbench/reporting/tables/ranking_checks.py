"""Compare the paper's best row with every row that it prints as worse, in ours.

Where a metric has values per image, both rows are compared on the same images and, with several, the same seeds, each
trained by the same machines. Where it has none, like FID, only means over seeds are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vqbench.planning.plan import PlannedRun
from vqbench.reporting import paper
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.system.console import one_line
from vqbench.system.provenance import Origin, same_origin


@dataclass(frozen=True)
class SeedValues:
    """One metric of one row by seed: values and, if stored, values per image (N,)."""

    name: str
    values: dict[int, float]
    images: dict[int, NDArray[np.float32]]
    origins: dict[int, tuple[Origin, ...]]  # of each value


@dataclass(frozen=True)
class Pair:
    """The paper's best row, ``a``, and one printed as worse, ``b``, on common seeds.

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
        """What an answer rests on: values per image or not, how many, which seeds."""
        return self.by_image, self.a.shape[1], self.seeds


@dataclass(frozen=True)
class RankingCheck:
    """One data set and metric: pairs, and the rows without one, with the reason."""

    dataset: str
    metric: str
    pairs: list[Pair]
    not_compared: list[tuple[str, str]]  # reason, row


def ranking_checks(stored: StoredRuns, protocol: str) -> list[RankingCheck]:
    """Return a check for each data set and metric with rows to compare.

    Values per image that do not belong to their record are noted in the damage of its store, and not compared.
    """
    number = stored.plan.suite.paper
    if number is None:
        return []
    reader = _RowReader(stored, protocol)
    checks = [_check(reader, number, *at) for at in product(stored.plan.datasets, stored.plan.metrics)]
    return [check for check in checks if check.pairs]


class _RowReader:
    """Reads the values of a plan's rows under one protocol."""

    def __init__(self, stored: StoredRuns, protocol: str) -> None:
        self.plan, self.stored, self.protocol = stored.plan, stored, protocol

    def rows(self, dataset: str) -> list[list[PlannedRun]]:
        """Return the entries of every row on ``dataset``, one per seed."""
        here = [entry for entry in self.plan.entries if entry.dataset == dataset]
        return [[entry for entry in here if entry.row == row] for row in dict.fromkeys(entry.row for entry in here)]

    def measured(self, entries: Sequence[PlannedRun], metric: str) -> SeedValues:
        """Return one row's values of ``metric``, in the version that the table wants."""
        values, by_image, origins = {}, {}, {}
        for entry in entries:
            value, each = self._run(entry, metric)
            if value is not None:
                values[entry.seed] = value
                origins[entry.seed] = self.stored.origins(entry)
            if value is not None and each is not None:
                by_image[entry.seed] = each
        name = self._name(entries[0])
        if precisions := dict.fromkeys(filter(None, (self.stored[entry.run].precision for entry in entries))):
            name += f" (trained in {' and '.join(precisions)})"
        return SeedValues(name, values, by_image, origins)

    def _name(self, entry: PlannedRun) -> str:
        """Return the row's label, with its setting where another row has the same label."""
        rows = {e.row for e in self.plan.entries if e.label == entry.label}
        return one_line(entry.label if len(rows) == 1 else f"{entry.label} ({entry.paper_setting or entry.group})")

    def _run(self, entry: PlannedRun, metric: str) -> tuple[float | None, NDArray[np.float32] | None]:
        """Return the value of ``metric`` and its values per image (N,), None if missing."""
        stored = self.stored[entry.run]
        record, store = stored.record, stored.store
        value = record.values.get(self.protocol, {}).get(metric) if record else None
        wanted = self.plan.wanted()[self.protocol][metric]
        if store is None or value is None or (value.metric_version, value.protocol_version) != wanted:
            return None, None
        each = self.stored.images(stored).get(f"{self.protocol}/{metric}")
        if each is not None and each.shape != (value.images,):
            path = store.folder(stored.run) / "per_image.npz"
            store.damage[path] = (
                f"{path}: values of shape {each.shape} for the {value.images} images that {metric} was measured on; "
                "delete it and the record beside it, and `vqbench run` measures again"
            )
            return value.value, None
        return value.value, each


def _check(reader: _RowReader, number: str, dataset: str, metric: str) -> RankingCheck:
    """Compare the paper's best row with all that it prints as worse, in that order."""
    printed: dict[int, float] = {}  # position of a row -> its printed value
    rows = reader.rows(dataset)
    for i, entries in enumerate(rows):
        row, setting = entries[0].paper_row or entries[0].label, entries[0].paper_setting or ""
        if (cell := paper.lookup(number, row, dataset, metric, setting)) is not None:
            printed[i] = float(cell.printed)
    sign = -1 if reader.plan.metrics[metric].better == "max" else 1
    ranked = sorted(printed, key=lambda i: sign * printed[i])
    level = [i for i in ranked if printed[i] == printed[ranked[0]]]
    ours = {i: reader.measured(rows[i], metric) for i in ranked}
    best = next((ours[i] for i in level if ours[i].values), None)  # of several, the first with a record
    pairs, not_compared = [], []
    for other in (ours[i] for i in ranked if i not in level):
        compared = _compared(best, other) if best else "not run"
        if isinstance(compared, Pair):
            pairs.append(compared)
        else:
            not_compared.append((compared, other.name))
    return RankingCheck(dataset, metric, pairs, not_compared)


def _compared(best: SeedValues, other: SeedValues) -> Pair | str:
    """Pair two rows on the seeds that the same machines trained, or say why not.

    With values per image if these are stored.
    """
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
