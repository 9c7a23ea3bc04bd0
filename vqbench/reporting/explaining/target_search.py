"""Show which settings print a target number, as text and as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from vqbench.evaluation.explaining.protocol_differences import word
from vqbench.evaluation.explaining.settings import changed

if TYPE_CHECKING:
    from vqbench.evaluation.explaining.protocol_differences import Number
    from vqbench.evaluation.explaining.target import Candidate, TargetSearch

SHOWN = 8  # rows of the table, and all that print the same digits


def text(search: TargetSearch) -> str:
    """Print the verdict, then the nearest settings as a table."""
    target = search.plan.target
    parts = ["\n".join(_verdict(search))]
    if search.candidates and not target.printed_by(search.base):
        most = max(SHOWN, len(search.same))
        rows = [
            [
                "yes" if target.printed_by(each.value) else "",
                _settings(search, each.settings),
                "none" if each.value is None else f"{each.value:z.{target.digits + 1}f}",
                "" if each.value is None else f"{each.value - target.value:+.{target.digits + 1}f}",
            ]
            for each in search.candidates[:most]
        ]
        heads = ["same", "settings changed", target.metric, f"− {target.text}"]
        parts.append(
            tabulate(rows, heads, "simple", disable_numparse=True, colalign=("left", "left", "right", "right"))
        )
        if (rest := len(search.candidates) - most) > 0:
            parts.append(f"{rest} more combinations are farther; --json lists all.")
    if search.untried and not target.outside() and not target.printed_by(search.base):
        why = (
            "settings were tried alone, as --alone says" if not search.pairs else "one setting alone prints the number"
        )
        parts.append(f"{search.untried} pairs of settings were not tried: {why}.")
    if search.plan.left_out:
        parts.append("\n".join(f"{sentence}." for sentence in search.plan.left_out))
    return "\n\n".join(parts)


def _verdict(search: TargetSearch) -> Iterator[str]:
    plan, target = search.plan, search.plan.target
    count = f"{search.inputs.images:,} images"
    if search.inputs.images < search.available:
        count = f"{search.inputs.images:,} of {search.available:,} images"
    base = "undefined" if search.base is None else f"{search.base:z.{target.digits + 1}f}"
    yield f"{plan.metric.label} under {plan.base.name} is {base} on {count}; the target is {target.text}."
    if outside := target.outside():
        yield f"{outside[0].upper()}{outside[1:]}."
        return
    if target.printed_by(search.base):
        yield f"{plan.base.name} prints {target.text} already: no setting needs to be changed."
    elif not search.same:
        tried = "no setting alone" if search.untried else "no setting, and no pair of settings,"
        yield f"Nothing explains {target.text}: {tried} prints it."
    else:
        first = search.same[0]
        others = len(search.same) - 1
        also = f"; so {'does' if others == 1 else 'do'} {others} other{'s' if others > 1 else ''}" if others else ""
        yield f"{_settings(search, first.settings)}: prints {target.text}{also}."
        yield from _reasons(search, first)
    if search.inputs.images < search.available:
        yield "The printed number was of other images than these few, so the last digits may differ."


def _reasons(search: TargetSearch, candidate: Candidate) -> Iterator[str]:
    """Say what each changed setting means."""
    knobs = changed(search.plan.base, candidate.settings).knobs()
    for knob, value in candidate.settings.items():
        yield f"  {knob} {word(value)}: {knobs[knob].reason}"


def _settings(search: TargetSearch, settings: Mapping[str, Any]) -> str:
    base = search.plan.base
    return ", ".join(f"{knob} {word(getattr(base, knob))} → {word(value)}" for knob, value in settings.items())


def data(search: TargetSearch) -> dict[str, Any]:
    """Convert the search to plain data at full precision; infinity is "inf"."""
    plan, target = search.plan, search.plan.target

    def candidate(each: Candidate) -> dict[str, Any]:
        reasons = {knob: {"from": getattr(plan.base, knob), "to": value} for knob, value in each.settings.items()}
        return {
            "settings": reasons,
            "value": _plain(each.value),
            "distance": _plain(each.distance(target)),
            "same_digits": target.printed_by(each.value),
        }

    return {
        "protocol": plan.base.name,
        "target": {"metric": target.metric, "value": target.value, "printed": target.text},
        "images": search.inputs.images,
        "available": search.available,
        "base": _plain(search.base),
        "outside": target.outside(),
        "already": target.printed_by(search.base),
        "candidates": [candidate(each) for each in search.candidates],
        "untried": search.untried,
        "left_out": list(plan.left_out),
    }


def _plain(value: Number) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
