"""Conditions by name: a protocol, and settings that are changed in it."""

from __future__ import annotations

from typing import Any

from vqbench.errors import UsageError, nearest, shortened
from vqbench.evaluation.explaining.other_tools import named_protocol
from vqbench.evaluation.explaining.protocol_differences import word
from vqbench.evaluation.explaining.settings import (
    FEWEST,
    SETTINGS,
    Conditions,
    Inputs,
    changed,
    conditions,
    obstacle,
)
from vqbench.protocol import MeasureProtocol

DIGITS = 12  # of a number of images


def named_conditions(text: str, inputs: Inputs) -> Conditions:
    """Return what ``clean`` or ``clean+jpeg=75+images=100`` means for these images.

    Raises UsageError for an unknown protocol, setting or value, and for a setting that does not apply to the images.
    """
    named, settings = parsed(text)
    base = conditions(named, inputs)
    if settings.get("images", 0) > inputs.images:
        raise UsageError(f"{text!r}: images can be {FEWEST} to {inputs.images:,}, not {settings['images']:,}")
    for knob, value in settings.items():
        if value != getattr(base, knob) and (reason := obstacle(knob, value, base, inputs)):
            raise UsageError(f"{text!r}: {reason}")
    return changed(base, settings) if settings else base


def parsed(text: str) -> tuple[MeasureProtocol, dict[str, Any]]:
    """Parse ``clean`` or ``clean+jpeg=75+images=100``, whatever the images.

    Raises UsageError for an unknown protocol, setting or value.
    """
    name, *words = text.split("+")
    named = named_protocol(name)
    settings: dict[str, Any] = {}
    for each in words:
        knob, equals, value = each.partition("=")
        if not equals:
            raise UsageError(
                f"{shortened(text)!r}: write settings after the protocol as NAME=VALUE, such as clean+jpeg=75"
            )
        if knob not in SETTINGS:
            raise UsageError(f"{shortened(text)!r}: unknown setting {shortened(knob)!r}; {nearest(knob, SETTINGS)}")
        if knob in settings:
            raise UsageError(f"{shortened(text)!r} has {knob} twice")
        settings[knob] = _value(text, knob, value)
    return named, settings


def _value(text: str, knob: str, value: str) -> Any:
    if knob == "images":
        if not (value.isdecimal() and len(value) <= DIGITS and int(value) >= FEWEST):
            raise UsageError(f"{shortened(text)!r}: images can be {FEWEST} or more, not {shortened(value)!r}")
        return int(value)
    known = {word(each): each for each in SETTINGS[knob].values}
    if value not in known:
        raise UsageError(f"{shortened(text)!r}: {knob} can be {', '.join(known)}, not {shortened(value)!r}")
    return known[value]
