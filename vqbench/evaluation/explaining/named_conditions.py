"""Conditions by name: a protocol, and settings that are changed in it."""

from __future__ import annotations

from typing import Any

from vqbench.errors import UsageError, nearest
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


def named_conditions(text: str, inputs: Inputs) -> Conditions:
    """Return what ``clean`` or ``clean+jpeg=75+images=100`` means for these images.

    Raises UsageError for an unknown protocol, setting or value, and for a setting that does not apply to the images.
    """
    name, *words = text.split("+")
    base = conditions(named_protocol(name), inputs)
    settings: dict[str, Any] = {}
    for each in words:
        knob, equals, value = each.partition("=")
        if not equals:
            raise UsageError(f"{text!r}: write settings after the protocol as NAME=VALUE, such as {name}+jpeg=75")
        if knob not in SETTINGS:
            raise UsageError(f"{text!r}: unknown setting {knob!r}; {nearest(knob, SETTINGS)}")
        if knob in settings:
            raise UsageError(f"{text!r} has {knob} twice")
        settings[knob] = _value(text, knob, value, inputs)
        if settings[knob] != getattr(base, knob) and (reason := obstacle(knob, settings[knob], base, inputs)):
            raise UsageError(f"{text!r}: {reason}")
    return changed(base, settings) if settings else base


def _value(text: str, knob: str, value: str, inputs: Inputs) -> Any:
    if knob == "images":
        if not (value.isdecimal() and FEWEST <= int(value) <= inputs.images):
            raise UsageError(f"{text!r}: images can be {FEWEST} to {inputs.images:,}, not {value!r}")
        return int(value)
    known = {word(each): each for each in SETTINGS[knob].values}
    if value not in known:
        raise UsageError(f"{text!r}: {knob} can be {', '.join(known)}, not {value!r}")
    return known[value]
