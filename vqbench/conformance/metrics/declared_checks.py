"""Check what a metric declares of itself."""

from __future__ import annotations

from dataclasses import fields

from vqbench.assets import CATALOGUE
from vqbench.conformance.declarations import require_documented
from vqbench.conformance.metrics.case import MetricCase
from vqbench.conformance.outcome import Check, Fail
from vqbench.protocol import MeasureProtocol, measuring


def declarations(case: MetricCase) -> None:
    """Label, direction, decimals, reference and docstring are declared."""
    require_documented(case, "label", "reference")
    cls = case.cls
    better, digits = getattr(cls, "better", None), getattr(cls, "digits", None)
    if better not in ("min", "max"):
        raise Fail(f"`better` is {better!r}", 'say which values are better: better = "min", or "max"')
    if type(digits) is not int or digits < 0:
        raise Fail(f"`digits` is {digits!r}", "say how many decimals a table shows: digits = 4")
    if not isinstance(cls.unit, str):
        raise Fail(f"`unit` is {cls.unit!r}", 'make it a text: unit = "dB", or leave it out')


def limits(case: MetricCase) -> None:
    """The fewest images, the smallest side, settings and weights are possible ones."""
    cls = case.cls
    if cls.fewest < 1 or (cls.few and cls.few < cls.fewest):
        raise Fail(
            f"`fewest` is {cls.fewest} and `few` {cls.few}", "make fewest 1 or more, and few 0 or at least fewest"
        )
    known = {each.name for each in fields(MeasureProtocol)}
    if unknown := [knob for knob in cls.knobs if knob not in known]:
        raise Fail(f"`knobs` names {', '.join(unknown)}", f"name settings of a protocol: {', '.join(sorted(known))}")
    for protocol in ("clean", "official"):
        measured = measuring(protocol)
        if cls.smallest(measured) < 1:
            raise Fail(f"smallest() is {cls.smallest(measured)} under {protocol}", "return pixels a side, 1 or more")
        if absent := [name for name in cls.assets(measured) if name not in CATALOGUE]:
            raise Fail(f"assets() names {', '.join(absent)}", f"name assets of vqbench: {', '.join(CATALOGUE)}")


CHECKS = (
    Check(declarations),
    Check(limits),
)
