"""``vqbench check``: whether plugins keep their contract, check by check."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.output import print_json
from vqbench.errors import UsageError, counted

if TYPE_CHECKING:
    from vqbench.testing import Report

Plugins = Annotated[
    list[str] | None, typer.Argument(metavar="FILE|NAME", help="Path of a .py file, or name of a plugin.")
]
All = Annotated[bool, typer.Option("--all", help="Check all known plugins and presets, of --kind or of every kind.")]
KindWord = Annotated[
    str | None, typer.Option("--kind", metavar="KIND", help="quantizer, metric, dataset, backbone or recipe.")
]
Only = Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Run only this check.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="ARGUMENT=VALUE", help="Change an argument of the plugin.")
]
NumCodes = Annotated[
    int | None, typer.Option(metavar="N", min=2, max=2**20, help="Number of codes of a quantizer; by default 64.")
]
Dim = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=2**14, help="Dimension of a code, of a quantizer or backbone; by default 8."),
]
List = Annotated[bool, typer.Option("--list", help="List the checks, of --kind or of every kind, and run none.")]
Slow = Annotated[bool, typer.Option("--slow", help="Run slow checks, too, such as torch.compile.")]
Like = Annotated[
    str | None,
    typer.Option(metavar="QUANTIZER", help="Compare with this quantizer, step by step: 'cvq(anchor=closest)'."),
]
Maps = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="NAME=NAME", help="With --like: a name in the plugin's state, and the reference's."),
]
Steps = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=10_000, help="With --like: training steps; by default 20.")
]
FreeRun = Annotated[
    bool,
    typer.Option("--free-run", help="With --like: copy the state before the first step alone; show where they part."),
]


def check(
    plugins: Plugins = None,
    all_plugins: All = False,
    kind: KindWord = None,
    only: Only = None,
    sets: Sets = None,
    num_codes: NumCodes = None,
    dim: Dim = None,
    slow: Slow = False,
    like: Like = None,
    maps: Maps = None,
    steps: Steps = None,
    free_run: FreeRun = False,
    listed: List = False,
    as_json: shared.Json = False,
) -> None:
    """Check that a plugin keeps its contract, or what to mend.

    Plugins of all five kinds: quantizers, metrics, data sets, backbones, recipes. Each check ends with PASS, WARN, SKIP
    or FAIL. The exit code is 1 if any fails.

    --like compares a quantizer with another one in place of the checks: it names the first tensor that differs.
    """
    from vqbench import testing

    if listed:
        _list(kind, as_json)
        return
    subjects = _subjects(plugins, all_plugins, kind)
    if like is None and (maps or steps or free_run):
        raise UsageError("--map, --steps and --free-run compare with another quantizer; name it with --like")
    args = dict(map(_argument, sets or ()))
    for option in ("num_codes", "dim"):
        if option in args:
            raise UsageError(f"--set {option}={args[option]}: use --{option.replace('_', '-')}")
    reports = []
    for name, each in subjects:
        if like is not None:
            new = [_compared(name, like, args, maps or [], num_codes, dim, steps, free_run)]
        else:
            new = testing.check_named(name, args, kind=each, num_codes=num_codes, dim=dim, slow=slow, only=only or ())
        reports += new
        if not as_json:
            width = shutil.get_terminal_size().columns
            print("\n".join(report_text(report, width) for report in new), flush=True)
    if as_json:
        print_json([report_data(report) for report in reports])
    raise typer.Exit(int(any(report.failed for report in reports)))


def _compared(
    name: str,
    like: str,
    args: dict[str, Any],
    maps: list[str],
    num_codes: int | None,
    dim: int | None,
    steps: int | None,
    free_run: bool,
) -> Report:
    """Compare the quantizer ``name`` with the one that ``like`` writes."""
    from vqbench import testing
    from vqbench.profiling.subjects import expanded

    written = expanded(like)
    if len(written) > 1:
        raise UsageError(f"--like {like}: names {len(written)} quantizers; give one value per argument")
    [(_, reference, given)] = written
    pairs = [text.partition("=") for text in maps]
    if wrong := ["".join(pair) for pair in pairs if not all(pair)]:
        raise UsageError(f"--map {wrong[0]}: not of the form name=reference, such as embedding.weight=codebook")
    return testing.check_like(
        testing.case(name, kind="quantizer", num_codes=num_codes, dim=dim, **args),
        testing.case(reference, kind="quantizer", num_codes=num_codes, dim=dim, **given),
        names={own: other for own, _, other in pairs},
        free_run=free_run,
        **({} if steps is None else {"steps": steps}),
    )


def _list(kind: str | None, as_json: bool) -> None:
    """Print what each check proves."""
    from vqbench.conformance.catalogue import CHECKS, kind_named

    kinds = CHECKS if kind is None else (kind_named(kind),)
    rows = [
        {"kind": each[:-1], "check": check.name, "passes_if": " ".join(check.full.splitlines())}
        for each in kinds
        for check in CHECKS[each]
    ]
    if as_json:
        print_json(rows)
        return
    width, column = shutil.get_terminal_size().columns, max(len(row["check"]) for row in rows)
    for each in kinds:
        print(f"{each[:-1]}")
        for row in rows:
            if row["kind"] == each[:-1]:
                begin = f"  {row['check']:<{column}}  "
                print("\n".join(_wrapped(row["passes_if"], width, begin, " " * len(begin))))


def _wrapped(text: str, width: int, begin: str, indent: str) -> list[str]:
    """Wrap ``text`` behind ``begin``, at ``width`` or at 30 columns of text."""
    return textwrap.wrap(
        text,
        max(width, len(indent) + 30),
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _subjects(plugins: list[str] | None, all_plugins: bool, kind: str | None) -> list[tuple[str, str | None]]:
    """Return what to check: names or files, each with its kind if it is given."""
    from vqbench.conformance.catalogue import CHECKS, kind_named, known

    if all_plugins:
        kinds = CHECKS if kind is None else (kind_named(kind),)
        return [(name, each[:-1]) for each in kinds for name in known(each)]
    if not plugins:
        raise UsageError("nothing to check; name a .py file or a plugin, or give --all")
    return [(name, kind) for name in plugins]


def report_text(report: Report, width: int = 120) -> str:
    """Write a report: one entry per check, what to do about it, and the counts."""
    kind = "" if report.kind is None else f"{report.kind[:-1]} "
    head = f"{kind}{report.name}" + f" ({report.about})" * bool(report.about)
    lines = textwrap.wrap(head, width, subsequent_indent="  ", break_long_words=False)
    column = max([8, *(len(result.check) for result in report.results)])
    failures: dict[str, list[str]] = {}  # what was observed -> checks, so that one fault is printed once
    for result in report.results:
        if result.state == "FAIL":
            failures.setdefault(result.what, []).append(result.check)
    for result in report.results:
        first, *others = failures[result.what] if result.state == "FAIL" else [result.check]
        if result.check != first:
            continue
        indent = " " * (column + 10)
        same = f"and {counted(len(others), 'more check')} with the same error: {', '.join(others)}" if others else ""
        texts = [result.what, same, f"do: {result.do}" * bool(result.do), f"see {result.link}" * bool(result.link)]
        begin = f"  {result.state}  {result.check:<{column}}  "
        for text in filter(None, texts):
            lines += _wrapped(text, width, begin, indent)
            begin = indent
    counts = Counter(result.state for result in report.results)
    return "\n".join([*lines, f"  {', '.join(f'{number} {state}' for state, number in counts.items())}"])


def report_data(report: Report) -> dict[str, Any]:
    """Convert a report to JSON data."""
    return {
        "kind": None if report.kind is None else report.kind[:-1],
        "name": report.name,
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
