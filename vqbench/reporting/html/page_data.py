"""Convert a page to plain data, for ``vqbench report SUITE --format json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vqbench.reporting.column_tests import ColumnTest
from vqbench.reporting.html.suite_view import RunView, SuiteView
from vqbench.reporting.tables.formats.plain import plain


def page_data(suite: SuiteView, judged: Sequence[Mapping[Any, ColumnTest]]) -> dict[str, Any]:
    """Return tables with their column tests, and every run with its record."""
    return {
        "suite": suite.plan.suite.name,
        "command": suite.command,
        "tables": [
            {**plain(table), "statistics": [_test(test) for test in tests.values()]}
            for table, tests in zip(suite.tables, judged, strict=True)
        ],
        "runs": [_run(view) for view in suite.runs],
    }


def _test(test: ColumnTest) -> dict[str, Any]:
    return {
        "block": test.block,
        "setting": test.setting,
        "metric": test.column.key,
        "best": test.best,
        "claim": test.claim,
        "sentence": test.sentence,
        "comparisons": [
            {
                "other": each.other,
                **asdict(each.test),
                "by_image": each.by_image,
                "p_value_holm": each.adjusted,
                "ahead": each.ahead,
            }
            for each in test.comparisons
        ],
        "not_compared": dict(test.not_compared),
    }


def _run(view: RunView) -> dict[str, Any]:
    record = view.record
    return {
        "key": view.key,
        "row": view.label,
        "dataset": view.dataset,
        "seed": view.run.seed,
        "state": view.state,
        "missing": view.missing,
        "failure": asdict(view.failure) if view.failure else None,
        "results": view.store.name if view.store else None,
        "run": view.run.to_dict(),
        "made": record.made if record else None,
        "values": {p: {m: v.to_dict() for m, v in each.items()} for p, each in record.values.items()} if record else {},
        "budget": asdict(view.budget),
        "entropy_bits": view.entropy,
        "milliseconds_per_update": view.milliseconds,
        "history": view.history,
        "images": _images(view),
        "samples": _samples(view),
        "notes": list(view.notes),
    }


def _images(view: RunView) -> dict[str, list[int]]:
    """Return the test images that the run keeps, by group; empty without any."""
    if view.portrait is None:
        return {}
    groups, chosen = view.portrait.groups.tolist(), view.portrait.chosen.tolist()
    return {
        group: [i for i, own in zip(chosen, groups, strict=True) if own == group] for group in dict.fromkeys(groups)
    }


def _samples(view: RunView) -> list[dict[str, int]]:
    """Return the kept samples of a generator, with their nearest training images."""
    nearest = [] if view.samples is None else view.samples.nearest.tolist()
    return [{"sample": i, "nearest": at} for i, at in enumerate(nearest)]
