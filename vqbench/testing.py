"""Check that a quantizer keeps the contract, in code and in your own tests.

The test suite of a plugin runs all checks by two lines::

    from vqbench.testing import conformance
    test_my_vq = conformance("my_vq.py")
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vqbench import registry
from vqbench.conformance.case import Case
from vqbench.conformance.catalogue import CHECKS as BY_KIND
from vqbench.conformance.outcome import Check, Result, conduct
from vqbench.conformance.quantizers import rank_checks
from vqbench.conformance.quantizers.case import QuantizerCase
from vqbench.errors import UsageError, nearest
from vqbench.quantizer import Quantizer
from vqbench.system.paths import path_of

__all__ = ["CHECKS", "Case", "Report", "case", "check", "check_named", "conformance", "known"]

CHECKS: tuple[Check, ...] = BY_KIND["quantizers"]


@dataclass(frozen=True)
class Report:
    """The results of all checks of one quantizer, in their order."""

    name: str
    about: str  # the budget and the arguments that it was built with
    results: list[Result]

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(result.state == "FAIL" for result in self.results)


def case(
    quantizer: str | Path | type[Quantizer], *, num_codes: int = 64, dim: int = 8, beside: Path = Path(), **args: Any
) -> QuantizerCase:
    """Build the case that :func:`check` examines.

    Args:
        quantizer: a class, the path of a .py file, or the name of a registered quantizer or preset.
        num_codes: number of codes, at least 2.
        dim: dimension of a code.
        beside: folder in which a path is looked for that does not exist as given.
        args: further arguments of the quantizer's constructor.

    Raises UsageError for an unknown quantizer or argument.

    >>> case("vq", num_codes=16, dim=4).num_codes
    16
    """
    return _case(quantizer, args, num_codes, dim, beside)


def _case(
    quantizer: str | Path | type[Quantizer], args: Mapping[str, Any], num_codes: int, dim: int, beside: Path = Path()
) -> QuantizerCase:
    cls: type
    preset: Mapping[str, Any] = {}
    if inspect.isclass(quantizer):
        name, cls = quantizer.__name__, quantizer
    else:
        name = str(quantizer)
        if name.endswith(".py"):
            path = path_of(name) if path_of(name).exists() else beside / name
            registry.add_file(path)
            name = path.stem
            if name not in registry.names("quantizers"):
                raise UsageError(f"{path}: defines no subclass of Quantizer; `vqbench new quantizer NAME` writes one")
        _, cls, preset = registry.find("quantizers", name)
    given = dict(preset)
    if args:  # without, the checks find out whether the constructor keeps the contract
        fitting = registry.checked(f"quantizer {name!r}", cls, args, {"num_codes": num_codes, "dim": dim}, preset)
        given |= {argument: fitting[argument] for argument in args}
    return QuantizerCase(name, cls, given, num_codes, dim)


def check(subject: QuantizerCase, *, slow: bool = False, only: Iterable[str] = ()) -> Report:
    """Run all checks of a quantizer.

    Args:
        subject: the quantizer under test, from :func:`case`.
        slow: whether to run slow checks too, which are skipped otherwise.
        only: names of the checks to run; empty for all.

    Raises UsageError for the name of an unknown check.

    >>> check(case("vq", num_codes=16, dim=4), only=["shapes"]).failed
    False
    """
    chosen = _checks_named(only)
    if any(each in rank_checks.CHECKS for each in chosen):
        rank_checks.prepare(subject)
    return Report(subject.name, subject.about, [conduct(each, subject, slow) for each in chosen])


def check_named(
    name: str,
    args: Mapping[str, Any] = MappingProxyType({}),
    *,
    num_codes: int = 64,
    dim: int = 8,
    slow: bool = False,
    only: Iterable[str] = (),
) -> Report:
    """Run all checks of a quantizer given by its name or file, as :func:`check`.

    A file that cannot be loaded is a FAIL of the report, and a quantizer whose package is not installed a SKIP.
    ``args`` are arguments of its constructor. Raises UsageError for an unknown quantizer, argument or check.
    """
    only = list(only)
    _checks_named(only)  # raises also where no check comes to be run
    try:
        subject = _case(name, args, num_codes, dim)
        if sentence := _lacks(subject):
            return Report(subject.name, "not installed", [Result("installed", "SKIP", *sentence.split(": ", 1))])
        return check(subject, slow=slow, only=only)
    except registry.BrokenPlugin as error:
        return Report(name, "not loaded", [Result("loads", "FAIL", str(error), "repair the file, then check it again")])


def known() -> list[str]:
    """List the names of all quantizers and presets."""
    return [*registry.names("quantizers"), *registry.presets("quantizers")]


def _lacks(subject: QuantizerCase) -> str:
    """The missing package of ``subject`` and how to install it; empty if none."""
    return registry.lacking(f"quantizer {subject.name!r}", subject.cls)


def _checks_named(only: Iterable[str]) -> list[Check]:
    names = [each.name for each in CHECKS]
    wanted = list(only)
    for name in wanted:
        if name not in names:
            raise UsageError(f"unknown check {name!r}; {nearest(name, names)}")
    return [each for each in CHECKS if not wanted or each.name in wanted]


def conformance(quantizer: str | Path | type[Quantizer], *, slow: bool = False, **options: Any) -> Callable[..., None]:
    """Return a pytest test that runs every check of ``quantizer``.

    Args:
        quantizer: a class, the path of a .py file, or a name. A path that does not exist as given is looked for beside
            the file that calls this.
        slow: whether to run slow checks too.
        options: of :func:`case`.

    FAIL fails the test, SKIP skips it with its reason, WARN warns.
    """
    import pytest

    caller = inspect.stack()[1].filename

    @pytest.mark.parametrize("each", CHECKS, ids=lambda each: each.name)
    def test(each: Check) -> None:
        subject = case(quantizer, beside=Path(caller).parent, **options)
        if sentence := _lacks(subject):
            pytest.skip(sentence)
        result = conduct(each, subject, slow)
        message = "; ".join(filter(None, [result.what, result.do, result.link]))
        if result.state == "FAIL":
            pytest.fail(f"{result.check}: {message}", pytrace=False)
        if result.state == "SKIP":
            pytest.skip(message)
        if result.state == "WARN":
            warnings.warn(f"{result.check}: {message}", stacklevel=1)

    test.__doc__ = f"{quantizer} keeps the contract of a quantizer."
    return test
