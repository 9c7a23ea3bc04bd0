"""Progress: plain lines and bars, their numbers, names and times, in pipes and terminals."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.tiny_suite import command, write
from vqbench.execution.messages import DONE
from vqbench.execution.progress import LiveProgress, PlainProgress, download_progress, short_names
from vqbench.execution.suite_runner import missing_jobs
from vqbench.execution.time_left import TimeLeft
from vqbench.planning import loading
from vqbench.spec import Job
from vqbench.store.results import ResultStore
from vqbench.system.durations import approximate

pytestmark = pytest.mark.integration

GRID = "{vq: {beta: [0.25, 1.0]}, label: VQ-VAE}, cvq"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the display, in seconds, as a list of one number to set."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def jobs_of(tmp_path: Path, rows: str = "vq, cvq") -> list[Job]:
    return missing_jobs([loading.load(write(tmp_path, rows), [])], ResultStore(tmp_path / "none"), False, print)


def test_lines_of_several_runs_at_once(tmp_path: Path, clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A run keeps its number and its row's label; times left are of its own speed and of all runs."""
    jobs = jobs_of(tmp_path)
    vq, cvq = (job.run for job in jobs)
    expected = {vq.key: 10.0, cvq.key: 30.0}
    with PlainProgress(jobs, expected=expected, headline=lambda run: "PSNR [dB] 24.05") as lines:
        for run in (vq, cvq):
            lines.run_started(run, "training")
            lines.run_advanced(run, 1000, 2000)  # both resume from a checkpoint
        clock[0] = 20.0
        lines.run_advanced(cvq, 1500, 2000)
        clock[0] = 25.0
        lines.run_advanced(cvq, 1600, 2000)  # too soon for another line
        clock[0] = 40.0
        lines.run_ended(cvq, DONE)
        lines.run_ended(vq, "FAILED: a reason")
    assert capsys.readouterr().err.splitlines() == [
        "[1/2] vq: training",
        "[2/2] cvq: training",
        "[2/2] cvq: training 1,500/2,000, 20s left (all runs: 1m left)",  # a quarter in 20 s
        "[2/2] cvq: done in 40s, PSNR [dB] 24.05 (all runs: 13s left)",
        "[1/2] vq: FAILED: a reason",
    ]


def test_names_are_as_short_as_they_are_clear(tmp_path: Path) -> None:
    """Rows are named by their labels, grids included; data set and seed only where several are at work."""
    jobs = jobs_of(tmp_path, GRID)
    assert short_names(jobs) == ["VQ-VAE (beta=0.25)", "VQ-VAE (beta=1.0)", "cvq"]
    assert str(jobs[0]) == f"VQ-VAE (beta=0.25) on fashion_mnist_5k, seed 42 ({jobs[0].run.key})"
    path = write(tmp_path, "vq")
    path.write_text(path.read_text().replace("[fashion_mnist_5k]", "[fashion_mnist_5k, mnist]") + "seeds: [1, 2]\n")
    plan = loading.load(path, [])
    assert short_names(missing_jobs([plan], ResultStore(tmp_path / "none"), False, print)) == [
        "vq on fashion_mnist_5k, seed 1",
        "vq on fashion_mnist_5k, seed 2",
        "vq on mnist, seed 1",
        "vq on mnist, seed 2",
    ]


def test_a_label_names_the_argument_that_the_table_groups_by(tmp_path: Path) -> None:
    """Rows of a grid that the table shows as groups have one label; the display tells them apart."""
    path = write(tmp_path, "{vq: {beta: [0.25, 1.0]}}")
    path.write_text(path.read_text().replace("table: {", "table: {group: beta, "))
    jobs = missing_jobs([loading.load(path, [])], ResultStore(tmp_path / "none"), False, print)
    assert short_names(jobs) == ["vq, beta=0.25", "vq, beta=1.0"]


def test_bars_of_several_runs_at_once(tmp_path: Path, clock: list[float]) -> None:
    """Every active run has its own bar, with its current activity and times left, from start to end."""
    jobs = jobs_of(tmp_path)
    vq, cvq = (job.run for job in jobs)
    with LiveProgress(jobs, Console(stderr=True), {vq.key: 10.0, cvq.key: 10.0}) as live:
        for run in (vq, cvq):
            live.run_started(run, "training")
            live.run_advanced(run, 0, 50)
        clock[0] = 10.0
        live.run_advanced(cvq, 10, 50)
        live.run_started(vq, "evaluating")
        live.run_advanced(vq, 100, 1000)

        def shown() -> list[tuple[object, ...]]:
            tasks = live._bars.tasks
            return [
                (task.description, *(task.fields[name] for name in ("activity", "count", "left"))) for task in tasks
            ]

        assert shown() == [
            ("all runs", "", "0/2", "40s left"),
            ("[2/2] cvq", "training", "10/50", "40s left"),
            ("[1/2] vq", "evaluating", "100/1,000", ""),
        ]
        live.run_ended(vq, DONE)
        assert shown() == [("all runs", "", "1/2", "40s left"), ("[2/2] cvq", "training", "10/50", "40s left")]


@pytest.mark.parametrize("width", [20, 80])
def test_bars_fit_the_terminal(tmp_path: Path, width: int) -> None:
    """A long label is cut with an ellipsis; activity, numbers and times stay readable, on one line a run."""
    jobs = jobs_of(tmp_path, "{vq: {}, label: A method whose name is longer than anybody would call it in a table}")
    drawn = io.StringIO()
    with LiveProgress(jobs, Console(file=drawn, force_terminal=True, width=width)) as live:
        live.run_started(jobs[0].run, "training")
        live.run_advanced(jobs[0].run, 53, 330)
        live._bars.refresh()
        table = live._bars.make_tasks_table(live._bars.tasks)
        plain = Console(file=io.StringIO(), width=width)
        lines = [line for line in plain.render_lines(table) if "".join(part.text for part in line).strip()]
    text = "".join(part.text for part in lines[0])
    assert len(lines) == 1
    assert len(text) <= width
    if width == 80:
        assert "[1/1] A method whose name is longer than" in text
        assert "…" in text
        assert "training" in text
        assert "53/330" in text


def test_a_download_that_was_done_before_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Assets that are here already leave no bar without an end on the screen."""
    drawn = io.StringIO()
    monkeypatch.setattr(
        "vqbench.system.console.bars", lambda: Console(file=drawn, force_terminal=True, width=80, no_color=True)
    )
    with download_progress("vgg16_lpips"):
        pass
    assert drawn.getvalue() == ""
    with download_progress("vgg16_lpips") as progress:
        progress(10, 100)
    assert "vgg16_lpips" in drawn.getvalue()


def test_time_left_weighs_runs_by_what_they_take(clock: list[float]) -> None:
    """Runs that take longer count more, unknown ones as the mean, and work of an earlier command not at all."""
    left = TimeLeft({"short": 10.0, "long": 30.0, "unknown": float("inf")})
    left.begin()
    clock[0] = 10.0
    assert left.seconds() is None, "nothing is done yet"
    left.end("short")
    assert left.share() == pytest.approx(10 / 60)
    assert left.seconds() == pytest.approx(50.0)
    left.advance("long", True, 0.5)  # before
    left.advance("long", True, 0.75)
    assert left.share() == pytest.approx((10 + 30 * 0.2) / (10 + 30 * 0.6 + 20)), "a training is 0.8 of a run"
    left.advance("long", False, 0.5)
    assert left.share() == pytest.approx((10 + 30 * 0.5) / (10 + 30 * 0.6 + 20))
    left.end("long")
    left.end("unknown")
    assert left.seconds() == 0


def test_times_are_rounded_for_people() -> None:
    """No time has more than two units, and none is finer than about a tenth."""
    for seconds in (0.0, 0.6, 9.0, 59.7, 61.0, 599.0, 3599.0, 7201.0, 90_000.0, 1e6):
        text = approximate(seconds)
        assert re.fullmatch(r"(\d+[dhms]){1,2}", text), (seconds, text)
    assert [approximate(each) for each in (59.7, 1834.2)] == ["1m", "31m"]


def test_a_real_run_in_a_terminal_and_in_a_pipe(tmp_path: Path) -> None:
    """Two runs at once end with one line each, with seconds and the suite's first metric, and no bar is left."""
    suite = write(tmp_path, "{vq: {}, label: VQ-VAE}, cvq")
    done = r"\[{}/2\] {}: done in [0-9ms]+, l1 0\.\d{{4}}"
    words = ("run", suite, "--subset", 700, "--test-images", 20, "-j", 2, "--store")
    piped = subprocess.run(command(*words, tmp_path / "piped"), capture_output=True, text=True, check=True)
    for number, label in ((1, "VQ-VAE"), (2, "cvq")):
        for line in ("training", "evaluating"):
            assert f"[{number}/2] {label}: {line}\n" in piped.stderr
        assert re.search(done.format(number, label), piped.stderr)
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}
    with subprocess.Popen(command(*words, tmp_path / "tty"), stdout=subprocess.DEVNULL, stderr=theirs, env=env) as work:
        os.close(theirs)
        drawn = b""
        try:
            while part := os.read(ours, 1 << 16):
                drawn += part
        except OSError:  # the terminal's other end is closed
            pass
    os.close(ours)
    assert work.returncode == 0
    text = drawn.decode()
    assert "all runs" in text
    last = re.split(r"\x1b\[2K", text)[-1]  # what is drawn after the last erased line
    assert "━" not in last
    assert "\x1b[?25h" in text, "the cursor is shown again"
    for number, label in ((1, "VQ-VAE"), (2, "cvq")):
        assert re.search(done.format(number, label), text)
