"""The numbers of a page as plain data: ``vqbench report SUITE --format json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vqbench.reporting.column_tests import ColumnTest
from vqbench.reporting.html.gather import Gathered, RunView
from vqbench.reporting.tables import assemble


def numbers(gathered: Gathered, judged: Sequence[Mapping[Any, ColumnTest]]) -> dict[str, Any]:
    """Tables with what they allow to be said, and every run with what is known of it."""
    return {
        "suite": gathered.plan.suite.name,
        "command": gathered.command,
        "tables": [
            {**assemble.data(table), "statistics": [_contest(contest) for contest in found.values()]}
            for table, found in zip(gathered.tables, judged, strict=True)
        ],
        "runs": [_run(view) for view in gathered.runs],
    }


def _contest(contest: ColumnTest) -> dict[str, Any]:
    return {
        "block": contest.block,
        "setting": contest.setting,
        "metric": contest.column.key,
        "best": contest.best,
        "claim": contest.claim,
        "said": contest.sentence,
        "comparisons": [
            {
                "other": each.other,
                **asdict(each.test),
                "by_image": each.by_image,
                "p_value_holm": each.adjusted,
                "ahead": each.ahead,
            }
            for each in contest.comparisons
        ],
        "not_compared": dict(contest.without),
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
        "results": view.store.root.name if view.store else None,
        "run": view.run.to_dict(),
        "made": record.made if record else None,
        "values": {p: {m: v.to_dict() for m, v in each.items()} for p, each in record.values.items()} if record else {},
        "budget": asdict(view.budget),
        "entropy_bits": view.entropy,
        "milliseconds_an_update": view.milliseconds,
        "history": view.history,
        "notes": list(view.notes),
    }
