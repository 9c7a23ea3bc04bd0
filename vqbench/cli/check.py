"""``vqbench check``: whether quantizers keep the contract, check by check."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.output import print_json
from vqbench.errors import UsageError

if TYPE_CHECKING:
    from vqbench.testing import Report

Quantizers = Annotated[
    list[str] | None, typer.Argument(metavar="FILE|NAME", help="Path of a .py file, or name of a quantizer.")
]
All = Annotated[bool, typer.Option("--all", help="Check every known quantizer and preset.")]
Only = Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Run only this check.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="ARGUMENT=VALUE", help="Change an argument of the quantizer.")
]
NumCodes = Annotated[int, typer.Option(metavar="N", min=2, max=2**20, help="Number of codes.")]
Dim = Annotated[int, typer.Option(metavar="N", min=1, max=2**14, help="Dimension of a code.")]
Slow = Annotated[bool, typer.Option("--slow", help="Run slow checks, too: torch.compile.")]


def check(
    quantizers: Quantizers = None,
    all_quantizers: All = False,
    only: Only = None,
    sets: Sets = None,
    num_codes: NumCodes = 64,
    dim: Dim = 8,
    slow: Slow = False,
    as_json: shared.Json = False,
) -> None:
    """Check that a quantizer keeps the contract, or what to mend.

    Each check ends with PASS, WARN, SKIP or FAIL. The exit code is 1 if any fails.
    """
    from vqbench import testing

    names = testing.known() if all_quantizers else quantizers or []
    if not names:
        raise UsageError("nothing to check; name a .py file or a quantizer, or give --all")
    args = dict(map(_argument, sets or ()))
    for option in ("num_codes", "dim"):
        if option in args:
            raise UsageError(f"--set {option}={args[option]}: use --{option.replace('_', '-')}")
    reports = []
    for name in names:
        report = testing.check_named(name, args, num_codes=num_codes, dim=dim, slow=slow, only=only or ())
        reports.append(report)
        if not as_json:
            print(report_text(report), flush=True)
    if as_json:
        print_json([report_data(report) for report in reports])
    raise typer.Exit(int(any(report.failed for report in reports)))


def report_text(report: Report) -> str:
    """Write a report: one line per check, what to do about it, and the counts."""
    lines = [f"{report.name} ({report.about})"]
    for result in report.results:
        lines.append(f"  {result.state}  {result.check:<26}  {result.what}")
        if result.do:
            lines.append(f"{'':36}do: {result.do}")
        if result.link:
            lines.append(f"{'':36}see {result.link}")
    counts = Counter(result.state for result in report.results)
    return "\n".join([*lines, f"  {', '.join(f'{number} {state}' for state, number in counts.items())}"])


def report_data(report: Report) -> dict[str, Any]:
    """Convert a report to JSON data."""
    return {
        "quantizer": report.name,
        "about": report.about,
        "failed": report.failed,
        "checks": [result.to_dict() for result in report.results],
    }


def _argument(text: str) -> tuple[str, Any]:
    """Parse ARGUMENT=VALUE, the value as YAML."""
    from vqbench.planning.yamlfile import parse

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--set {text}: not of the form argument=value, such as beta=0.5")
    return name, parse(value, f"--set {text}").data
