"""The table of an offline run: commands, times of updates, the estimate they correct, and the trained rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from settings import EXPECTED, REFUSED, SECONDS, STRICT, TOLERANCE, TRAINED_LAYOUT, Expected, Setting
from stepping import State, described
from update_times import lines


@dataclass(frozen=True)
class Times:
    """What was measured: seconds per update of each process, by setting; None where the setting failed."""

    head: Mapping[str, Any]  # empty: nothing was measured
    seconds: Mapping[Setting, Sequence[float] | None]
    problems: Mapping[Setting, str]

    @classmethod
    def read(cls, path: Path) -> Times:
        """Return what ``path`` holds."""
        found = lines(path)
        measured = {Setting(**line["setting"]): line for line in found if "setting" in line}
        return cls(
            next((line for line in found if "machine" in line), {}),
            {setting: line["seconds"] for setting, line in measured.items()},
            {setting: line["problem"] for setting, line in measured.items() if line["problem"]},
        )

    def trainings(self, like: Setting, datasets: Iterable[str]) -> list[float] | None:
        """Return the seconds of the updates of whole trainings, ``like.jobs`` side by side.

        One number for each row of ``datasets``, the quickest first; None where any was not measured.
        """
        found = []
        for dataset in datasets:
            for row, updates in self.head.get("updates", {}).get(dataset, {}).items():
                medians = self.processes(replace(like, dataset=dataset, row=row))
                if not medians or not updates:
                    return None
                found.append(max(medians) * updates)
        return sorted(found) or None

    def processes(self, setting: Setting) -> Sequence[float] | None:
        """Return the seconds per update of each process; None if they were not measured.

        A row that cannot be captured is trained eagerly.
        """
        if self.problems.get(setting, "").startswith(REFUSED):
            return self.seconds.get(replace(setting, captured=False))
        return self.seconds.get(setting)


def schedule(seconds: Sequence[float], jobs: int) -> list[tuple[float, float]]:
    """Return begin and end of each training where ``jobs`` run side by side."""
    free = [0.0] * jobs
    spans = []
    for each in seconds:
        begin = min(free)
        free[free.index(begin)] = begin + each
        spans.append((begin, begin + each))
    return spans


def rows_within(seconds: Sequence[float], jobs: int, limit: float) -> float:
    """Return how many trainings end within ``limit`` seconds, begun ones by their share."""
    return sum(min(1.0, max(0.0, (limit - begin) / (end - begin))) for begin, end in schedule(seconds, jobs))


def whole_rows(seconds: Sequence[float], jobs: int, limit: float) -> int:
    """Return how many trainings end within ``limit`` seconds."""
    return sum(end <= limit for _, end in schedule(seconds, jobs))


def candidates(times: Times, precision: str, captured: bool | None = None) -> list[Setting]:
    """Return the settings in the layout of trainings, without data set and row."""
    found = {
        replace(setting, dataset="", row="")
        for setting in times.seconds
        if (setting.precision, setting.layout) == (precision, TRAINED_LAYOUT) and captured in (None, setting.captured)
    }
    return sorted(found, key=lambda setting: (setting.jobs, setting.captured))


def best_strict(times: Times, datasets: Sequence[str], limit: float) -> Setting | None:
    """Return the float32 setting that ends most trainings within ``limit`` seconds, and all soonest.

    None where none was measured for all rows.
    """
    known = [(each, seconds) for each in candidates(times, STRICT) if (seconds := times.trainings(each, datasets))]
    if not known:
        return None
    return max(
        known,
        key=lambda pair: (
            whole_rows(pair[1], pair[0].jobs, limit),
            -max(end for _, end in schedule(pair[1], pair[0].jobs)),
        ),
    )[0]


def page(state: State, times: Times, chosen: Setting | None, trained: str, seconds: Mapping[str, float]) -> str:
    """Return the whole table as Markdown.

    ``trained``: the table of the trained rows. ``seconds``: of training, by "data set, row", of finished ones.
    """
    return (
        "\n\n".join(
            [
                "# An offline run",
                _machine(state, times),
                "\n".join(f"- {described(name, entry)}" for name, entry in state.steps.items())
                or "Nothing is done yet.",
                *_update_times(times),
                *([] if state.facts.get("scale") == "tiny" else _estimates(times)),
                *_trained(times, chosen, trained, seconds),
            ]
        )
        + "\n"
    )


def _machine(state: State, times: Times) -> str:
    facts = state.facts
    made = times.head.get("machine", {})
    device = f"{made['device']}, torch {made['versions']['torch']}" if made else f"device {facts.get('device')}"
    reduced = " Tiny numbers: they show that every part works, and nothing about speed." * (
        facts.get("scale") == "tiny"
    )
    return f"{device}, commit {facts.get('commit') or made.get('commit') or 'unknown'}.{reduced}"


def _update_times(times: Times) -> list[str]:
    if not times.head:
        return []
    rows = []
    for setting, medians in times.seconds.items():
        cells = [setting.dataset, setting.row, setting.update, setting.precision, setting.layout, str(setting.jobs)]
        if medians is None:
            rows.append([*cells, "failed", times.problems[setting]])
        else:
            rows.append([*cells, f"{1000 * max(medians):.2f}", f"{sum(1 / each for each in medians):.1f}"])
    heads = ["data set", "row", "update", "precision", "layout", "side by side", "update [ms]", "updates/s, all"]
    notes = [
        f"Medians of {times.head['timed']} updates on {times.head['batch']} images, of the slowest process. "
        f"Trainings use the layout {TRAINED_LAYOUT}."
    ]
    if left := times.head["settings"] - len(times.seconds):
        notes.append(f"{left} of {times.head['settings']} settings were not measured.")
    return ["## Updates", markdown(heads, rows), " ".join(notes)]


def _estimates(times: Times) -> list[str]:
    if not times.head:
        return []
    lines = [f"- {each.name}: {_verdict(times, each)}" for each in EXPECTED]
    return [f"## Rows of the suite in {SECONDS // 60} minutes, by the updates alone", "\n".join(lines)]


def _verdict(times: Times, expected: Expected) -> str:
    """Compare the measured number of rows with the expected one."""
    datasets = list(times.head["updates"])
    counts = [
        rows_within(seconds, each.jobs, SECONDS)
        for each in candidates(times, expected.precision, expected.captured)
        if (seconds := times.trainings(each, datasets))
    ]
    total = sum(map(len, times.head["updates"].values()))
    if not counts:
        return f"not all {total} rows were measured"
    low, high = expected.rows
    within = low * (1 - TOLERANCE) <= max(counts) <= high * (1 + TOLERANCE)
    verdict = "confirmed" if within else "corrected"
    return f"{max(counts):.1f} of {total}; expected: {low:g} to {high:g}, ±{TOLERANCE:.0%}: {verdict}"


def _trained(times: Times, chosen: Setting | None, trained: str, seconds: Mapping[str, float]) -> list[str]:
    if chosen is None:
        return []
    lines = []
    for name, measured in seconds.items():
        dataset, _, row = name.partition(", ")
        predicted = times.head and times.processes(replace(chosen, dataset=dataset, row=row))
        updates = times.head["updates"][dataset][row] if predicted else None
        note = f"; its updates alone were to take {max(predicted) * updates:.0f} s" if predicted and updates else ""
        lines.append(f"- {row} on {dataset}: trained in {measured:.0f} s{note}")
    way = f"{chosen.update} updates, {chosen.precision}, {chosen.layout}, {chosen.jobs} side by side"
    return [
        "## Trained rows",
        f"By {way}.",
        *(["\n".join(lines)] if lines else []),
        trained.strip() or "No row is finished.",
    ]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    cells = [heads, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells)


def trained_seconds(runs: Path, names: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds of training of finished runs by their ``names``, which are by key."""
    records = [json.loads(path.read_text()) for path in sorted(runs.glob("*/record.json"))]
    return {names[record["key"]]: record["made"]["seconds"] for record in records if record["key"] in names}
