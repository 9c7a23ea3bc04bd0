"""Print results to stdout, and notes and damaged files to stderr."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from vqbench.errors import StoreError
from vqbench.system import jsontext
from vqbench.system.output import few

if TYPE_CHECKING:
    from vqbench.planning.plan import Plan
    from vqbench.store.results import ResultStore


def note(text: str) -> None:
    """Print one sentence to stderr."""
    print(f"vqbench: {text}", file=sys.stderr, flush=True)


def prints_to_stderr() -> redirect_stdout[Any]:
    """Redirect what a user's code prints: stdout has results alone, such as JSON."""
    return redirect_stdout(sys.stderr)


def print_hint(command: str, suite: str, plan: Plan, stores: Sequence[ResultStore]) -> None:
    """Print which other settings of ``suite`` have runs, if ``plan`` has none."""
    from vqbench.reporting.other_settings import hint

    if text := hint(command, suite, plan, stores):
        note(text)


def print_other_suites(command: str, plan: Plan, store: ResultStore, options: Sequence[str] = ()) -> None:
    """Print which other suites ``store`` has runs of.

    Nothing is printed if it has one of ``plan``, that of the default suite.
    """
    from vqbench.reporting.other_settings import other_suites

    if suites := other_suites(plan, store):
        lines = [f"  {shlex.join(['vqbench', command, suite, *options])}" for suite in suites]
        note("\n".join([f"{store.root} has no run of {plan.suite.name}, but runs of other suites:", *lines]))


def print_json(data: Any) -> None:
    """Print ``data`` as JSON."""
    print(jsontext.dumps(data))


def print_damage(sentences: Iterable[str]) -> None:
    """Print to stderr which files cannot be read, at most ten of them."""
    for sentence in few(sentences):
        note(sentence)


def require_sound(sentences: Iterable[str]) -> None:
    """Raise StoreError for unreadable files, after all results were printed."""
    *others, last = [*sentences] or [""]
    print_damage(others)
    if last:
        raise StoreError(last)
