"""Check that a plugin keeps its contract, in code and in your own tests.

The test suite of a plugin runs all checks by two lines, whatever the kind of the plugin::

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

from vqbench.conformance.case import Case
from vqbench.conformance.catalogue import CHECKS, cases, checks_of, kind_named, known
from vqbench.conformance.outcome import Check, Result, conduct
from vqbench.conformance.quantizers import likeness, rank_checks
from vqbench.conformance.quantizers.case import QuantizerCase
from vqbench.errors import UsageError, VqbenchError, nearest
from vqbench.registry import BrokenPlugin, Kind

__all__ = ["CHECKS", "Case", "Report", "case", "check", "check_like", "check_named", "conformance", "known"]


@dataclass(frozen=True)
class Report:
    """The results of all checks of one plugin, in their order."""

    kind: Kind | None  # None: a file that cannot be loaded
    name: str
    about: str  # what it was built with
    results: list[Result]

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(result.state == "FAIL" for result in self.results)


def case(
    plugin: str | Path | type,
    *,
    kind: str | None = None,
    num_codes: int | None = None,
    dim: int | None = None,
    beside: Path = Path(),
    **args: Any,
) -> Case:
    """Build the case that :func:`check` examines.

    Args:
        plugin: a class, the path of a .py file, or the name of a registered plugin or preset.
        kind: "quantizer", "metric", "dataset", "backbone" or "recipe", where a name is known in several kinds or a file
            defines several.
        num_codes: number of codes of a quantizer, at least 2; 64 by default.
        dim: dimension of the codes of a quantizer or backbone; 8 by default.
        beside: folder in which a path is looked for that does not exist as given.
        args: further arguments of the plugin's constructor.

    Raises UsageError for an unknown plugin or argument.

    >>> case("vq", num_codes=16, dim=4).about
    'num_codes 16, dim 4'
    >>> case("psnr").kind
    'metrics'
    """
    found = cases(plugin, args, _options(num_codes, dim), None if kind is None else kind_named(kind), beside)
    if len(found) > 1:
        kinds = ", ".join(repr(each.kind[:-1]) for each in found)
        raise UsageError(f"{plugin}: defines plugins of several kinds; give kind, one of {kinds}")
    return found[0]


def _options(num_codes: int | None, dim: int | None) -> dict[str, int]:
    given = {"num_codes": num_codes, "dim": dim}
    return {name: value for name, value in given.items() if value is not None}


def check(subject: Case, *, slow: bool = False, only: Iterable[str] = ()) -> Report:
    """Run all checks of a plugin.

    Args:
        subject: the plugin under test, from :func:`case`.
        slow: whether to run slow checks too, which are skipped otherwise.
        only: names of the checks to run; empty for all.

    Raises UsageError for the name of an unknown check.

    >>> check(case("vq", num_codes=16, dim=4), only=["shapes"]).failed
    False
    """
    chosen = _checks_named(subject.kind, only) if (only := list(only)) else checks_of(subject)
    if isinstance(subject, QuantizerCase) and any(each in rank_checks.CHECKS for each in chosen):
        rank_checks.prepare(subject)
    if lacking := subject.missing():
        return Report(subject.kind, subject.name, "not checked", [Result("ready", "SKIP", *lacking.split(": ", 1))])
    results = [conduct(each, subject, slow) for each in chosen]
    return Report(subject.kind, subject.name, subject.about, results)


def check_named(
    plugin: str,
    args: Mapping[str, Any] = MappingProxyType({}),
    *,
    kind: str | None = None,
    num_codes: int | None = None,
    dim: int | None = None,
    slow: bool = False,
    only: Iterable[str] = (),
) -> list[Report]:
    """Run all checks of a plugin given by its name or file, as :func:`check`.

    There is one report for each plugin that a file defines. A file that cannot be loaded is a FAIL of its report, and a
    plugin whose packages or files are not on this machine a SKIP. ``args`` are arguments of its constructor.

    Raises UsageError for an unknown plugin, argument or check.
    """
    only = list(only)
    chosen = None if kind is None else kind_named(kind)
    _require_known(only, chosen)  # raises also where no check comes to be run
    try:
        found = cases(plugin, args, _options(num_codes, dim), chosen)
    except BrokenPlugin as error:
        broken = Result("loads", "FAIL", str(error), "repair the file, then check it again")
        return [Report(chosen, plugin, "not loaded", [broken])]
    fitting = [each for each in found if not only or set(only) & _names(each.kind)]
    if not fitting:
        _checks_named(found[0].kind, only)
    return [check(each, slow=slow, only=[name for name in only if name in _names(each.kind)]) for each in fitting]


def check_like(
    candidate: Case,
    reference: Case,
    *,
    names: Mapping[str, str] = MappingProxyType({}),
    steps: int = likeness.STEPS,
    free_run: bool = False,
) -> Report:
    """Compare a quantizer with another one, step by step.

    Both are trained on the same inputs and random draws in float64. Before each step the reference's state, the
    optimizer's too, is copied into the candidate. Compared are codes, z_q, loss, gradients, state, and evaluation. The
    last result is a FAIL that names the first tensor that differs, if any does.

    Args:
        candidate: the quantizer under test, from :func:`case`.
        reference: the one that it should equal, with the same num_codes and dim.
        names: the candidate's name of an entry of the state -> the reference's, where they differ.
        steps: training steps, at least 1.
        free_run: copy the state before the first step alone.

    Raises UsageError for other plugins than quantizers, and for states that cannot be mapped.

    >>> check_like(case("vq", beta=1.0), case("vq"), steps=2).results[-1].check
    'loss'
    >>> check_like(case("cvq", anchor="random", contrastive=False), case("cvq_online", anchor="random")).failed
    False
    """
    if not isinstance(candidate, QuantizerCase) or not isinstance(reference, QuantizerCase):
        raise UsageError("only quantizers can be compared with each other; leave out --like for other plugins")
    if steps < 1:
        raise UsageError(f"steps must be at least 1, not {steps}")
    about = f"{candidate.about}; compared with {reference.name}: {reference.about}"
    for each in (candidate, reference):
        if lacking := each.missing():
            return Report("quantizers", candidate.name, about, [Result("ready", "SKIP", *lacking.split(": ", 1))])
    results = likeness.compare(candidate, reference, names, steps, free_run)
    return Report("quantizers", candidate.name, about, results)


def _names(kind: Kind) -> set[str]:
    return {each.name for each in CHECKS[kind]}


def _require_known(only: Iterable[str], kind: Kind | None) -> None:
    """Raise UsageError for the name of a check that no plugin of ``kind`` has."""
    names = list(dict.fromkeys(check.name for each in CHECKS if kind in (None, each) for check in CHECKS[each]))
    for name in only:
        if name not in names:
            raise UsageError(f"unknown check {name!r}; {nearest(name, names)}")


def _checks_named(kind: Kind, only: Iterable[str]) -> list[Check]:
    wanted = list(only)
    _require_known(wanted, kind)
    return [each for each in CHECKS[kind] if not wanted or each.name in wanted]


def conformance(
    plugin: str | Path | type, *, kind: str | None = None, slow: bool = False, **options: Any
) -> Callable[..., None]:
    """Return a pytest test that runs every check of ``plugin``.

    Args:
        plugin: a class, the path of a .py file, or a name. A path that does not exist as given is looked for beside
            the file that calls this. A file may define plugins of several kinds.
        kind: that of the plugin, as for :func:`case`.
        slow: whether to run slow checks too.
        options: further ones of :func:`case`.

    FAIL fails the test, SKIP skips it with its reason, WARN warns. A plugin that cannot be loaded is one test, which
    fails.
    """
    import pytest

    beside = Path(inspect.stack()[1].filename).parent
    chosen = None if kind is None else kind_named(kind)
    budget = _options(options.pop("num_codes", None), options.pop("dim", None))
    pairs: list[tuple[Case | VqbenchError, Check | None]]
    try:
        found = cases(plugin, options, budget, chosen, beside)
    except VqbenchError as error:
        pairs, names = [(error, None)], ["loads"]
    else:
        pairs = [(each, check) for each in found for check in checks_of(each)]
        names = [f"{each.kind[:-1]}-" * (len(found) > 1) + check.name for each in found for check in checks_of(each)]

    @pytest.mark.parametrize(("subject", "each"), pairs, ids=names)
    def test(subject: Case | VqbenchError, each: Check | None) -> None:
        if isinstance(subject, VqbenchError) or each is None:
            pytest.fail(f"loads: {subject}", pytrace=False)
        if lacking := subject.missing():
            pytest.skip(lacking)
        result = conduct(each, subject, slow)
        message = "; ".join(filter(None, [result.what, result.do, result.link]))
        if result.state == "FAIL":
            pytest.fail(f"{result.check}: {message}", pytrace=False)
        if result.state == "SKIP":
            pytest.skip(message)
        if result.state == "WARN":
            warnings.warn(f"{result.check}: {message}", stacklevel=1)

    test.__doc__ = f"{plugin} keeps the contract of its kind."
    return test
