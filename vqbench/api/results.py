"""Tables and results of runs as pandas DataFrames."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench.api.arguments import text_or_path, words
from vqbench.api.suites import Suite, as_suite, warn_of_damage
from vqbench.errors import UsageError, nearest
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from vqbench.planning.plan import Plan
    from vqbench.reporting.tables.table import Table
    from vqbench.store.results import ResultStore


def table(
    suite: Suite | str | Path | Mapping[str, Any],
    *,
    store: str | Path = "runs",
    results: str | Path = "results",
    protocol: str | None = None,
    bd_rate: str | None = None,
    differences: str | None = None,
    reference: str | None = None,
    rank_correlation: str | None = None,
) -> DataFrame:
    """Return the table of a suite, as ``vqbench table`` prints it.

    The index is (dataset, row), with a setting between them where the table has several; the columns are named by
    metrics. Values are means over seeds, not rounded; NaN where a run is missing or has failed, and where a metric does
    not apply. ``attrs`` has the title, the protocol and the notes below the printed table.

    Args:
        suite: a suite of :func:`load_suite`, or what it takes.
        store: folder of the runs.
        results: folder of published records, read for runs that ``store`` lacks.
        protocol: evaluation protocol, if the suite has several; the table's first without. Either as it is stored, such
            as ``clean@100`` for the first 100 test images, or without the images, ``clean``.
        bd_rate: a rate metric of the suite, such as ``entropy``: return BD-rates in percent instead, see
            ``vqbench table --bd-rate``.
        differences: a metric of the suite: return instead how far rows differ in it, see ``vqbench table
            --differences``. Rows are then pairs of the suite's rows; the columns are the mean ``difference``, the ends
            ``low`` and ``high`` of its 95 % interval, ``p`` after Holm's correction over the table, and ``seeds``.
        reference: the row that BD-rates compare with (by default the first) or differences are from (all pairs).
        rank_correlation: a metric of the suite: return instead how far every other column orders the methods as it
            does, see ``vqbench table --rank-correlation``. Rows are then columns of the suite's table; the columns are
            ``tau``, the ends ``low`` and ``high`` of its interval, and ``rows``, the number of methods.

    Raises:
        UsageError: for a wrong suite, a protocol that it has not, a store that does not exist, or several of
            ``bd_rate``, ``differences`` and ``rank_correlation``.

    >>> import vqbench
    >>> vqbench.table(vqbench.load_suite("quick", only=["vq", "sqvae"]))[["psnr", "usage"]]  # before the first run
                            psnr  usage
    dataset          row
    fashion_mnist_5k vq      NaN    NaN
                     sqvae   NaN    NaN
    """
    from vqbench.reporting.data_frames import table_frame
    from vqbench.reporting.other_settings import hint
    from vqbench.store.results import ResultStore, damage_of

    text_or_path("results", results, "the folder of published records")
    if path_of(text_or_path("store", store, "the folder of the runs")) != Path("runs"):  # which may not exist yet
        _require_folder(store)
    stores = [ResultStore(store), ResultStore(results)]
    chosen = as_suite(suite)
    resolved = chosen.resolve(stores)
    found = _tables(resolved, stores, bd_rate, differences, reference, rank_correlation)
    wanted = _of_protocol(found, protocol, resolved.suite.name)
    if chosen.source and (other := hint("table", chosen.source, resolved, stores)):
        warnings.warn(other, stacklevel=2)
    warn_of_damage(damage_of(stores))
    return table_frame(wanted)


def results(
    store: str | Path | Sequence[str | Path] = "runs", *, suite: Suite | str | Path | Mapping[str, Any] | None = None
) -> DataFrame:
    """Return all stored values: one row per run, evaluation protocol and metric.

    Rows that vqbench did not train follow those of the runs, with ``external`` of True: they have the label that
    ``vqbench measure --row`` gave them, no seed, quantizer or seconds, and, in ``device``, ``commit``, ``torch`` and
    ``date``, what they were measured by.

    Columns:

    - the run: ``key``, ``label`` in the suite's table (empty without a suite, unless external), ``dataset``,
      ``quantizer``, ``arguments`` of the quantizer as JSON, ``num_codes``, ``dim``, ``seed``, ``backbone``, ``recipe``,
      and ``parent``, the key of the run that a second stage builds on;
    - the value: ``protocol`` as records and tables name it (``clean``, or ``clean@100`` where only the first 100 test
      images count), ``images`` it is measured on, ``sampling`` of a second stage, ``metric``, ``value`` in the metric's
      unit (NaN where it does not apply), ``higher_is_better``, ``metric_version``, ``protocol_version``;
    - the training: ``seconds``, ``parameters``, ``device``, ``devices``, ``commit``, ``torch``, ``date``;
    - ``external``, whether vqbench has only measured it, and ``store``, the folder of the record.

    Args:
        store: folder of runs or of published records, or several: the first that has a run counts.
        suite: a suite whose runs, external rows and metrics are returned.

    Raises:
        UsageError: for a store that does not exist, or a wrong suite.

    >>> import vqbench
    >>> sizes = {"epochs": 1, "subset": 640, "test_images": 100}
    >>> suite = vqbench.load_suite("quick", only="vq", seeds=[1, 2], set={"metrics": ["psnr", "usage"]}, **sizes)
    >>> result = vqbench.run(suite, store="runs")
    >>> frame = vqbench.results("runs", suite=suite)
    >>> frame[["label", "seed", "protocol", "images", "metric", "higher_is_better"]]
      label  seed   protocol  images metric  higher_is_better
    0    vq     1  clean@100     100   psnr              True
    1    vq     1  clean@100     100  usage              True
    2    vq     2  clean@100     100   psnr              True
    3    vq     2  clean@100     100  usage              True
    >>> seeds = frame.groupby(["dataset", "label", "metric"]).value.agg(["mean", "std", "count"])
    >>> seeds["count"].tolist()
    [2, 2]
    """
    from vqbench.reporting.data_frames import results_frame
    from vqbench.reporting.other_settings import hint
    from vqbench.store.results import ResultStore, damage_of

    folders = words("store", store)
    for folder in folders:
        _require_folder(folder)
    stores = [ResultStore(folder) for folder in folders]
    chosen = None if suite is None else as_suite(suite)
    resolved = None if chosen is None else chosen.resolve(stores)
    frame = results_frame(stores, resolved)
    if chosen and resolved and chosen.source and (other := hint("table", chosen.source, resolved, stores)):
        warnings.warn(other, stacklevel=2)
    warn_of_damage(damage_of(stores))
    return frame


def _tables(
    plan: Plan,
    stores: Sequence[ResultStore],
    bd_rate: str | None,
    differences: str | None,
    reference: str | None,
    correlated: str | None,
) -> list[Table]:
    """Return the tables of a plan, or those that are derived from them."""
    from vqbench.reporting.derived.bd_tables import bd_tables
    from vqbench.reporting.derived.correlation_tables import correlation_tables
    from vqbench.reporting.derived.difference_tables import difference_tables
    from vqbench.reporting.tables.assemble import tables

    if sum(each is not None for each in (bd_rate, differences, correlated)) > 1:
        raise UsageError("bd_rate, differences and rank_correlation are different tables; give one of them")
    if reference is not None and bd_rate is None and differences is None:
        raise UsageError("reference belongs to bd_rate or differences; give it with one of them, or leave it out")
    if bd_rate is not None:
        return bd_tables(plan, stores, bd_rate, reference)
    if differences is not None:
        return difference_tables(plan, stores, differences, reference)
    if correlated is not None:
        return correlation_tables(plan, stores, correlated)
    return tables(plan, stores)


def _of_protocol(tables: Sequence[Table], protocol: str | None, suite: str) -> Table:
    """Return the table of a protocol; without one, the first."""
    by_protocol = {each.protocol: each for each in tables}
    name = next(iter(by_protocol)) if protocol is None else _stored_name(protocol, by_protocol)
    if name is None:
        raise UsageError(f"{suite} is not evaluated by {protocol!r}; {nearest(str(protocol), by_protocol)}")
    return by_protocol[name]


def _stored_name(protocol: str, stored: Iterable[str]) -> str | None:
    """Return the stored name that ``protocol`` is, with or without its images."""
    names = list(stored)
    short = {name.partition("@")[0]: name for name in names}
    return protocol if protocol in names else short.get(protocol)


def _require_folder(store: str | Path) -> None:
    """Raise UsageError for a store that does not exist."""
    if not path_of(store).exists():
        raise UsageError(f"{store}: this folder does not exist; name one that vqbench.run has written to")
