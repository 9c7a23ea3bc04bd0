"""The conformance kit for people: whether a quantizer is fit to be ranked, at a prompt and in a test of your own.

A plugin's test suite holds to all of it in two lines::

    from vqbench.testing import conformance
    test_my_vq = conformance("my_vq.py")
"""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench import registry
from vqbench.conformance import CHECKS, rank_checks
from vqbench.conformance.case import Case
from vqbench.conformance.outcome import Check, Result, conduct
from vqbench.errors import UsageError, nearest
from vqbench.planning.yamlfile import parse
from vqbench.quantizer import Quantizer
from vqbench.system import jsontext
from vqbench.system.paths import path_of

__all__ = ["Case", "Report", "case", "check", "conformance", "known", "tell"]


@dataclass(frozen=True)
class Report:
    """How the checks of one quantizer ended, in their order."""

    name: str
    about: str  # the budget and the arguments that it was built with
    results: list[Result]

    @property
    def failed(self) -> bool:
        return any(result.state == "FAIL" for result in self.results)

    @property
    def text(self) -> str:
        lines = [f"{self.name} ({self.about})"]
        for result in self.results:
            lines.append(f"  {result.state}  {result.check:<26}  {result.what}")
            if result.do:
                lines.append(f"{'':36}do: {result.do}")
            if result.link:
                lines.append(f"{'':36}see {result.link}")
        counts = Counter(result.state for result in self.results)
        return "\n".join([*lines, f"  {', '.join(f'{number} {state}' for state, number in counts.items())}"])

    @property
    def data(self) -> dict[str, Any]:
        return {
            "quantizer": self.name,
            "about": self.about,
            "failed": self.failed,
            "checks": [result.to_dict() for result in self.results],
        }


def case(
    quantizer: str | Path | type[Quantizer], *, num_codes: int = 64, dim: int = 8, beside: Path = Path(), **args: Any
) -> Case:
    """The quantizer under test: a class, the path of a .py file (as given, or ``beside``), or a registered name.

    ``args`` are arguments of its constructor. Raises UsageError if there is no such quantizer or argument.
    """
    return _case(quantizer, args, num_codes, dim, beside)


def _case(
    quantizer: str | Path | type[Quantizer], args: Mapping[str, Any], num_codes: int, dim: int, beside: Path = Path()
) -> Case:
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
    if args:  # without, it is up to the checks whether the constructor keeps the contract
        fitting = registry.checked(f"quantizer {name!r}", cls, args, {"num_codes": num_codes, "dim": dim}, preset)
        given |= {argument: fitting[argument] for argument in args}
    return Case(name, cls, given, num_codes, dim)


def check(subject: Case, *, slow: bool = False, only: Iterable[str] = ()) -> Report:
    """Carry out all checks, or ``only`` those named, slow ones where ``slow``. Raises UsageError for wrong names."""
    chosen = list(_chosen(only))
    if any(each in rank_checks.CHECKS for each in chosen):
        rank_checks.prepare(subject)
    about = ", ".join(f"{name} {value}" for name, value in _budget(subject).items())
    return Report(subject.name, about, [conduct(each, subject, slow) for each in chosen])


def known() -> list[str]:
    """Every quantizer that can be named, presets included."""
    return [*registry.names("quantizers"), *registry.presets("quantizers")]


def tell(
    names: Iterable[str],
    sets: Iterable[str] = (),
    only: Iterable[str] = (),
    num_codes: int = 64,
    dim: int = 8,
    slow: bool = False,
    as_json: bool = False,
) -> int:
    """Check one quantizer after the other and print how each did; 0 if nothing fails, otherwise 1.

    ``sets`` are changes of arguments as text, ``beta=0.5``.
    """
    names, args = list(names), dict(map(_argument, sets))
    if not names:
        raise UsageError("nothing to check; name a .py file or a quantizer, or give --all")
    for option in ("num_codes", "dim"):
        if option in args:
            raise UsageError(f"--set {option}={args[option]}: use --{option.replace('_', '-')}")
    list(_chosen(only))  # raises for an unknown one, also where nothing comes to be checked
    reports = []
    for name in names:
        try:
            subject = _case(name, args, num_codes, dim)
            report = _not_installed(subject) or check(subject, slow=slow, only=only)
        except registry.BrokenPlugin as error:
            result = Result("loads", "FAIL", str(error), "mend the file, then check it again")
            report = Report(name, "not loaded", [result])
        reports.append(report)
        if not as_json:
            print(report.text, flush=True)
    if as_json:
        print(jsontext.dumps([report.data for report in reports]))
    return int(any(report.failed for report in reports))


def _not_installed(subject: Case) -> Report | None:
    """The report on a quantizer whose package is not installed: one SKIP, with the command that installs it."""
    if not (sentence := _lacks(subject)):
        return None
    return Report(subject.name, "not installed", [Result("installed", "SKIP", *sentence.split(": ", 1))])


def _lacks(subject: Case) -> str:
    return registry.lacking(f"quantizer {subject.name!r}", subject.cls)


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--set {text}: not of the form argument=value, such as beta=0.5")
    return name, parse(value, f"--set {text}").data


def _budget(subject: Case) -> dict[str, Any]:
    return {"num_codes": subject.num_codes, "dim": subject.dim, **subject.args}


def _chosen(only: Iterable[str]) -> Iterator[Check]:
    names = [each.name for each in CHECKS]
    wanted = list(only)
    for name in wanted:
        if name not in names:
            raise UsageError(f"unknown check {name!r}; {nearest(name, names)}")
    return (each for each in CHECKS if not wanted or each.name in wanted)


def conformance(quantizer: str | Path | type[Quantizer], *, slow: bool = False, **options: Any) -> Callable[..., None]:
    """A pytest test for every check of ``quantizer``; ``options`` as of :func:`case`.

    A path that is not there as given is looked for beside the file that calls this. FAIL fails, SKIP skips with its
    reason, WARN warns.
    """
    import pytest

    caller = inspect.stack()[1].filename

    @pytest.mark.parametrize("each", CHECKS, ids=lambda each: each.name)
    def test(each: Check) -> None:
        subject = case(quantizer, beside=Path(caller).parent, **options)
        if sentence := _lacks(subject):
            pytest.skip(sentence)
        result = conduct(each, subject, slow)
        told = "; ".join(filter(None, [result.what, result.do, result.link]))
        if result.state == "FAIL":
            pytest.fail(f"{result.check}: {told}", pytrace=False)
        if result.state == "SKIP":
            pytest.skip(told)
        if result.state == "WARN":
            warnings.warn(f"{result.check}: {told}", stacklevel=1)

    test.__doc__ = f"{quantizer} holds to the contract of a quantizer."
    return test
