"""Checks of the conformance kit and their results."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch

from vqbench.conformance.case import Case

State = Literal["PASS", "WARN", "SKIP", "FAIL"]


class Finding(Exception):
    """Ends a check: ``what`` was observed and, if possible, what to ``do``."""

    state: ClassVar[State]

    def __init__(self, what: str, do: str = "") -> None:
        super().__init__(what)
        self.what, self.do = what, do


class Fail(Finding):
    """The plugin breaks the contract: its values would not mean what a table says."""

    state: ClassVar[State] = "FAIL"


class Warn(Finding):
    """Allowed, but relevant for readers of the values."""

    state: ClassVar[State] = "WARN"


class Skip(Finding):
    """The check has no meaning for this plugin or on this machine."""

    state: ClassVar[State] = "SKIP"


@dataclass(frozen=True)
class Check:
    """One property of a plugin.

    ``run`` raises a Finding unless the property holds; its docstring states the property.
    """

    run: Callable[[Any], None]  # of a case of its kind
    thread: str = ""  # owner/repo#number: a public thread about this fault
    only_if: Callable[[Any], None] | None = None  # raises Skip for a case that the property says nothing about
    applies: Callable[[Any], bool] | None = None  # whether it is about a case at all; None: about all of its kind
    slow: bool = False  # takes more than a few seconds

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def about(self) -> str:
        """The property that holds if the check passes, in short."""
        return self.full.partition("\n")[0]

    @property
    def full(self) -> str:
        """The property with all that is said of it; the first line is the short form."""
        return "\n".join(
            " ".join(part.split()) for part in (self.run.__doc__ or "").replace("``", "`").split("\n\n") if part.strip()
        )

    @property
    def link(self) -> str:
        """The address of the thread.

        GitHub redirects it to a pull request or a discussion.
        """
        repository, _, number = self.thread.partition("#")
        return f"https://github.com/{repository}/issues/{number}" if number else ""


@dataclass(frozen=True)
class Result:
    """The result of one check."""

    check: str
    state: State
    what: str  # the property that holds, or what was observed
    do: str = ""
    link: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def conduct(check: Check, case: Case, slow: bool) -> Result:
    """Run ``check`` and return its result.

    Any error of the plugin is a failure. The state of the random generator is restored.
    """
    if check.applies is not None and not check.applies(case):
        return Result(check.name, "SKIP", f"is not about such a {case.kind[:-1]}")
    if check.slow and not slow:
        return Result(check.name, "SKIP", "takes more than a few seconds; --slow runs it")
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        try:
            if check.only_if is not None:
                check.only_if(case)
            check.run(case)
        except Finding as finding:
            if finding.state == "FAIL" and (reason := getattr(case.cls, "exempt", {}).get(check.name)):
                return Result(check.name, "WARN", f"{finding.what}; the plugin declares: {reason}")
            link = check.link if finding.state in ("FAIL", "WARN") else ""
            return Result(check.name, finding.state, finding.what, finding.do, link)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way, which is what the check reports
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{_where(error, case)}"
            return Result(check.name, "FAIL", what, f"make this hold without an error: {check.about}", check.link)
    return Result(check.name, "PASS", check.about)


def _where(error: BaseException, case: Case) -> str:
    """The last line of the plugin's own file in the traceback of ``error``."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == case.file]
    return f" (line {own[-1].lineno}: {own[-1].line})" if own else ""
