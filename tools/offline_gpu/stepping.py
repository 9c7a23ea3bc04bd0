"""Commands in order, in slices of time: what a slice does not finish, the next call continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOPPED = 3  # exit code of a command that the time limit has stopped, and that resumes
MOST_SLICES = 2  # that a command which cannot be continued may use up
SECONDS_TO_STOP = 10.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Step:
    """One command, given the seconds that it has."""

    name: str
    words: Callable[[float], Sequence[str | Path]]
    resumes: bool = False  # it continues where it was stopped
    at_most: float | None = None  # seconds in all slices together, of a step that resumes


@dataclass
class State:
    """What has been done, kept in a file after each command.

    ``steps``: exit code (None: unfinished), seconds so far and a remark, by name.
    """

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> State:
        """Return the state kept at ``path``, or an empty one."""
        kept = json.loads(path.read_text()) if path.is_file() else {}
        return cls(path, kept.get("facts", {}), kept.get("steps", {}))

    def of(self, step: Step) -> dict[str, Any]:
        """Return the entry of ``step``."""
        return self.steps.setdefault(step.name, {"code": None, "seconds": 0.0, "remark": ""})

    def save(self) -> None:
        """Write the state by rename."""
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps({"facts": self.facts, "steps": self.steps}, indent=1) + "\n")
        unfinished.replace(self.path)


class Slice:
    """The time of one call: ``seconds``, of which the last ``margin`` are kept for stopping and for the table."""

    def __init__(self, seconds: float, margin: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.margin = clock, margin
        self.end = clock() + seconds - margin
        self.fresh = True  # no step has used any of it

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.end - self.clock()


def run_slice(
    steps: Sequence[Step],
    state: State,
    time_slice: Slice,
    logs: Path,
    say: Callable[[str], None],
    env: Mapping[str, str],
) -> bool:
    """Carry out what is left of ``steps`` within the slice; return whether all is done.

    The output of each step is appended to ``logs / "NAME.txt"``.
    """
    logs.mkdir(parents=True, exist_ok=True)
    for step in steps:
        entry = state.of(step)
        while entry["code"] is None:
            seconds = time_slice.left
            if step.at_most is not None:
                seconds = min(seconds, step.at_most - entry["seconds"])
            if time_slice.left < time_slice.margin:
                return False
            try:
                _attempt(step, entry, seconds, time_slice, logs / f"{step.name}.txt", env)
            finally:
                state.save()
            say(described(step.name, entry))
            if entry["code"] is None and time_slice.left < time_slice.margin:
                return False
    return True


def described(name: str, entry: Mapping[str, Any]) -> str:
    """Return one line about a step."""
    code = {None: "not finished", 0: "ok"}.get(entry["code"], f"exit code {entry['code']}")
    remark = f" ({entry['remark']})" if entry["remark"] else ""
    return f"{name}: {code}{remark}, {entry['seconds']:.0f} s"


def _attempt(
    step: Step, entry: dict[str, Any], seconds: float, time_slice: Slice, log: Path, env: Mapping[str, str]
) -> None:
    """Carry out ``step`` for ``seconds`` at most, and note in ``entry`` what came of it."""
    if seconds < 1:  # its time in all slices is used up
        entry.update(code=0, remark="its time is used up")
        return
    fresh, time_slice.fresh = time_slice.fresh, False
    started = time_slice.clock()
    try:
        code = carry_out(step.words(seconds), log, seconds + time_slice.margin * step.resumes / 2, env)
    finally:  # also of a step that a signal cuts short
        entry["seconds"] += time_slice.clock() - started
    if step.resumes and code in (STOPPED, None):
        if step.at_most is not None and entry["seconds"] > step.at_most - max(1.0, time_slice.margin):
            entry.update(code=0, remark="its time is used up")
    elif code is not None:
        entry["code"] = code
    elif fresh:
        entry["whole_slices"] = entry.get("whole_slices", 0) + 1
        if entry["whole_slices"] == MOST_SLICES:
            entry.update(code=1, remark="takes longer than a slice")


def carry_out(words: Sequence[str | Path], log: Path, seconds: float, env: Mapping[str, str]) -> int | None:
    """Run a command; return its exit code, or None if it had to be stopped after ``seconds``."""
    with log.open("ab") as file:
        file.write(f"$ {' '.join(map(str, words))}\n".encode())
        file.flush()
        with _group(
            subprocess.Popen(words, stdout=file, stderr=file, env=os.environ | env, start_new_session=True)
        ) as it:
            try:
                return it.wait(seconds)
            except subprocess.TimeoutExpired:
                return None


@contextmanager
def _group(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Stop the process and all that it has started when the context ends."""
    try:
        yield process
    finally:
        for number, seconds in ((signal.SIGTERM, SECONDS_TO_STOP), (signal.SIGKILL, SECONDS_TO_STOP)):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
