"""The steps of a run on the other machine, in order, as commands of vqbench."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pieces import OfflineError
from settings import CAPTURE, SCALES, STRICT, TRAINED_LAYOUT, Scale, Setting, as_dict, words
from stepping import Slice, State, Step, run_slice
from time_table import Times, best_strict, page, trained_seconds

MARGIN = 30.0  # seconds of a slice for stopping and for the table, or a tenth of it
EAGER = Setting("", "", captured=False, precision=STRICT, layout=TRAINED_LAYOUT, jobs=1)


@dataclass(frozen=True)
class Installation:
    """What carries out commands: a Python that has vqbench, and this program.

    ``env`` is added to the environment of all commands. ``commit``: of vqbench, if known.
    """

    python: str
    tool: Path
    env: Mapping[str, str]
    commit: str | None

    def output(self, *command: object) -> str:
        """Return what a command of this Python prints, nothing if it fails."""
        words = [self.python, *map(str, command)]
        done = subprocess.run(words, capture_output=True, text=True, env=os.environ | self.env, check=False)
        return done.stdout if done.returncode == 0 else ""


class OfflineRun:
    """A run in the folder ``store``, continued by each call."""

    def __init__(self, store: Path, installed: Installation, say: Callable[[str], None]) -> None:
        self.store, self.installed, self.say = store, installed, say
        self.state = State.read(store / "state.json")

    @property
    def scale(self) -> Scale:
        """How much is done."""
        return SCALES[self.state.facts["scale"]]

    def begin(self, scale: str, device: str) -> None:
        """Begin a run, or continue it.

        Raises OfflineError where the store was begun at another scale or on another device.
        """
        self.store.mkdir(parents=True, exist_ok=True)
        facts = {"scale": scale, "device": device}
        if any(self.state.facts.get(name, fact) != fact for name, fact in facts.items()):
            begun = f"{self.state.facts['scale']} on --device {self.state.facts['device']}"
            raise OfflineError(f"{self.store}: begun as {begun}; continue it so, or name a new folder", 2)
        self.state.facts |= {**facts, "commit": self.installed.commit}

    def work(self, seconds: float, times_for: float, rows_for: float) -> bool:
        """Work for ``seconds``, then write and print the table; return whether all is done."""
        time_slice = Slice(seconds, min(MARGIN, seconds / 10))
        steps = self._steps(times_for, rows_for)
        done = run_slice(steps, self.state, time_slice, self.store / "logs", self.say, self.installed.env)
        self.state.save()
        text = self.table()
        (self.store / "table.md").write_text(text)
        self.say(text)
        return done

    def _steps(self, times_for: float, rows_for: float) -> list[Step]:
        vqbench = [self.installed.python, "-m", "vqbench"]
        fixed = {
            "doctor": ["doctor"],
            "prepare": ["prepare", *words(self.scale.rows), "--offline"],
            "check_quantizers": ["check", *self.scale.quantizers],
            "check_backbones": ["check", *self.scale.backbones],
        }
        return [
            *(Step(name, lambda _, command=command: [*vqbench, *command]) for name, command in fixed.items()),
            Step("times", self._times, resumes=True, at_most=times_for),
            Step("rows", lambda seconds: self._rows(seconds, rows_for), resumes=True, at_most=rows_for),
        ]

    def _times(self, seconds: float) -> list[str | Path]:
        facts = self.state.facts
        options = ["--store", self.store, "--scale", facts["scale"], "--device", facts["device"]]
        return [self.installed.python, self.installed.tool, "times", *options, "--seconds", f"{seconds:.0f}"]

    def _rows(self, seconds: float, rows_for: float) -> list[str | Path]:
        if self.chosen is None:  # once, so that all calls train the same runs
            best = best_strict(self.times(), self.scale.rows["set"]["datasets"], rows_for) or EAGER
            self.state.facts["chosen"] = as_dict(best)
        options = ["--store", str(self.store / "runs"), "--device", self.state.facts["device"]]
        options += ["--jobs", str(self.chosen.jobs), "--time-limit", f"{max(1, int(seconds))}s", "--offline", "--quiet"]
        options += [f"--{CAPTURE}"] * self.chosen.captured
        return [self.installed.python, "-m", "vqbench", "run", *words(self.scale.rows), *options]

    @property
    def chosen(self) -> Setting | None:
        """The setting of the trained rows, once they have begun."""
        kept = self.state.facts.get("chosen")
        return Setting(**kept) if kept else None

    def times(self) -> Times:
        """Return what has been measured so far."""
        return Times.read(self.store / "times.jsonl")

    def table(self) -> str:
        """Return the table of what is done so far."""
        runs = self.store / "runs"
        trained, seconds = "", {}
        if any(runs.glob("*/record.json")):
            options = ["--store", runs, "--results", runs, "--format", "markdown"]
            trained = self.installed.output("-m", "vqbench", "table", *words(self.scale.rows), *options)
            seconds = trained_seconds(runs, self.times().head.get("runs", {}))
        return page(self.state, self.times(), self.chosen, trained, seconds)
