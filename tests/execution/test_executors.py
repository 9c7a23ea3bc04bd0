"""Execution of runs: real processes, stopped, killed, crashed, in parallel, without losses."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.support.processes import PATIENCE, alive, children, plugin, running, wait_for, wait_for_exit
from tests.support.tiny_suite import assert_same, command, values, vqbench, write
from vqbench import registry
from vqbench.cli import commands
from vqbench.cli.run import run_and_print
from vqbench.errors import Evicted, Interrupted, TimeUp, UsageError, VqbenchError
from vqbench.execution.executors import local
from vqbench.execution.messages import RunSettings, WorkerReady
from vqbench.execution.progress import PlainProgress
from vqbench.execution.stopping import MAX_RESUMES, Stop
from vqbench.execution.suite_runner import RunOptions
from vqbench.planning import loading
from vqbench.planning.cost import cheapest_first, expected_seconds
from vqbench.spec import Job, RunSpec
from vqbench.store.record import Failure, Record
from vqbench.store.results import ResultStore
from vqbench.system import environment
from vqbench.system.durations import format_duration, parse_duration
from vqbench.system.environment import LARGE_PAGES

pytestmark = pytest.mark.integration

SLOW = 'if (mark := os.environ.get("SLOW")): Path(mark).touch(); time.sleep(0.3)'
FROM_START = "starts from the beginning, as it has no checkpoint yet"
MANY = "1000"  # epochs that no test waits for


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plugin files of one test are unloaded before the next."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    yield
    registry.sources.cache_clear()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the suite "vq, cvq", in one go; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    assert vqbench("run", write(folder, "vq, cvq"), "--store", folder / "runs", "-q", "--jobs", "0") == 0
    return folder / "runs"


# A limit of time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "number"), [("30s", 30), ("8m", 480), ("2h", 7200), ("1h30m", 5400), ("1h1s", 3601)])
def test_lengths_of_time(text: str, number: int) -> None:
    """Hours, minutes and seconds are parsed, and formatted to the same text."""
    assert parse_duration(text) == number
    assert format_duration(number) == text


@pytest.mark.parametrize("text", ["", "8", "0s", "m8", "30s8m", "1.5h", "-8m", "8 parsecs"])
def test_what_is_no_length_of_time(text: str) -> None:
    """Anything else is refused with a valid example."""
    with pytest.raises(UsageError, match="1h30m"):
        parse_duration(text)


def test_after_the_time_limit_the_work_resumes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A suite stopped mid-training prints its table and what is left; resumed, it ends with the same weights."""
    suite = write(tmp_path, "vq, cvq")
    store = tmp_path / "parts"
    stop = Stop(3600)
    run_advanced = PlainProgress.run_advanced

    def end_the_time(self: PlainProgress, run: object, done: int, total: int) -> None:
        run_advanced(self, run, done, total)  # type: ignore[arg-type]
        stop.until = 0

    monkeypatch.setattr(PlainProgress, "run_advanced", end_the_time)
    with pytest.raises(TimeUp, match="left: 1 stopped, 1 not begun; the same command resumes") as raised, stop:
        run_and_print([loading.load(suite, [])], store, RunOptions(), stop)
    assert raised.value.exit_code == 3
    shown = capsys.readouterr()
    assert "0 records of 2" in shown.out or "vq" in shown.out
    assert len(list(store.glob("*/last.pt"))) == 1
    monkeypatch.undo()
    assert vqbench("run", suite, "--store", store, "-q", "--jobs", "0") == 0
    assert_same(store, whole)
    assert values(store) == values(whole)


def test_the_command_ends_in_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--time-limit 1s of a suite of hours ends with exit code 3, the table so far, and one sentence on what is left."""
    suite = write(tmp_path, "vq, cvq")
    assert vqbench("run", suite, "--store", tmp_path / "runs", "--epochs", MANY, "--time-limit", "1s") == 3
    shown = capsys.readouterr()
    assert "PSNR" in shown.out
    assert re.search(
        "^vqbench: the time limit is reached; left: (2 not begun|1 stopped, 1 not begun); the same command resumes$",
        shown.err,
        re.M,
    ), "whether a first update fitted into the time is the machine's matter"
    assert vqbench("run", suite, "--store", tmp_path / "runs", "--time-limit", "soon") == 2
    assert vqbench("run", suite, "--store", tmp_path / "runs", "--timeout", "1h", "--jobs", "0") == 2


@pytest.mark.usefixtures("fresh_registry")
def test_a_retry_that_is_stopped_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed run that --retry-failed tries again and --time-limit stops is stopped, and the same command resumes."""
    suite, store = write(tmp_path, "slow"), tmp_path / "runs"
    slow = plugin(tmp_path, "slow", 'Path(os.environ["SLOW"]).touch(); time.sleep(0.3)')
    line = ("run", suite, "--store", store, "--plugin", slow, "--epochs", MANY)
    registry.add_file(slow)
    run = loading.load(suite, [], reduced={"epochs": int(MANY)}).runs()[0]
    ResultStore(store).fail(run, Failure("it broke", []))
    mark = tmp_path / "mark"
    with running(*line, "--retry-failed", SLOW=str(mark)) as work:
        wait_for(mark.exists, work)
        assert ResultStore(store).failure(run) is None, "the retry has begun"
        work.send_signal(signal.SIGTERM)
        assert work.wait() == 75
    assert ResultStore(store).failure(run) is None
    assert vqbench("status", suite, "--store", store, "--plugin", slow, "--epochs", MANY) == 0
    assert "stopped, will resume" in capsys.readouterr().out


def test_earlier_failures_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that failed earlier start no process; one sentence names their rows and what to do, with exit code 1."""
    suite, store = write(tmp_path, "{vq: {}, label: VQ-VAE}, cvq"), ResultStore(tmp_path / "runs")
    for run in loading.load(suite, []).runs():
        store.fail(run, Failure("it broke", []))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vqbench.execution.suite_runner.create_executor", None)
        assert vqbench("run", suite, "--store", store.root) == 1
    assert capsys.readouterr().err == "vqbench: 2 runs failed earlier (VQ-VAE, cvq); --retry-failed tries again\n"


def test_a_wrong_checkpoint_interval_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong VQBENCH_CHECKPOINT_EVERY ends the command before any run is started."""
    monkeypatch.setenv("VQBENCH_CHECKPOINT_EVERY", "often")
    assert vqbench("run", write(tmp_path, "vq"), "--store", tmp_path / "runs") == 2
    wrong = "vqbench: VQBENCH_CHECKPOINT_EVERY=often: not a number of seconds; unset it or write one\n"
    assert capsys.readouterr().err == wrong
    assert not (tmp_path / "runs").exists()


def test_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help has every exit code with its meaning."""
    assert vqbench("--help") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert list(commands.EXIT_CODES) == [0, 1, 2, 3, 75, 130]
    for code, meaning in commands.EXIT_CODES.items():
        assert f"{code} {meaning}" in output


# Signals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "target"),
    [(signal.SIGINT, 130, "driver"), (signal.SIGTERM, 75, "driver"), (signal.SIGUSR1, 75, "worker")],
)
def test_a_signal_keeps_the_work(number: signal.Signals, code: int, target: str, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and SIGUSR1, to the driver or to a worker, end with a checkpoint and the right exit code."""
    suite, store = write(tmp_path, "slow, vq"), tmp_path / "runs"
    line = ("run", suite, "--store", store, "--plugin", plugin(tmp_path, "slow", SLOW))
    mark = tmp_path / "mark"
    with running(*line, SLOW=str(mark)) as work:
        wait_for(mark.exists, work)
        workers = children(work.pid)
        os.kill(work.pid if target == "driver" else workers[0], number)
        assert work.stderr is not None
        output = work.stderr.read()
        assert work.wait() == code, output
    assert "Traceback" not in output
    assert not any(map(alive, workers))
    assert [torch.load(path)["progress"]["step"] for path in store.glob("*/last.pt")] < [55]
    assert not list(store.glob("*/record.json"))
    assert not list(store.glob("*/failed.json"))


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """A second signal does not wait for a worker that hangs in its update; the exit code is that of the first."""
    suite, store = write(tmp_path, "hangs"), tmp_path / "runs"
    odd = 'Path(os.environ["SLOW"]).touch(); time.sleep(3600)'
    line = ("run", suite, "--store", store, "--plugin", plugin(tmp_path, "hangs", odd))
    mark = tmp_path / "mark"
    with running(*line, SLOW=str(mark)) as work:
        wait_for(mark.exists, work)
        workers = children(work.pid)
        work.send_signal(signal.SIGTERM)
        assert work.stderr is not None
        for text in work.stderr:
            if "stopping (SIGTERM)" in text:
                break
        work.send_signal(signal.SIGTERM)
        _, output = work.communicate(timeout=PATIENCE)
        assert work.returncode == 75
    assert "Traceback" not in output
    assert not any(map(alive, workers))


# What goes wrong in a run ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_registry")
def test_a_crash_costs_its_own_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run killed by the system resumes, one that crashes in C is failed with its last lines; the others are done."""
    suite, store = write(tmp_path, "killed, segfault, vq"), tmp_path / "runs"
    killed = 'print("the last words", flush=True); os.kill(os.getpid(), signal.SIGKILL)'
    once = f'if not Path("{tmp_path}/once").exists(): Path("{tmp_path}/once").touch(); {killed}'
    plugins = [plugin(tmp_path, "killed", once), plugin(tmp_path, "segfault", "ctypes.string_at(0)")]
    assert vqbench("run", suite, "--store", store, "--plugin", plugins[0], "--plugin", plugins[1]) == 1
    shown = capsys.readouterr()
    assert (
        "killed by signal 9 (out of memory?); it starts from the beginning, as it has no checkpoint yet (1 of 2 times)"
        in shown.err
    )
    assert "crashed by signal 11" in shown.out, "the table says why"
    failed = {path.parent.name.split("-")[1]: json.loads(path.read_text()) for path in store.glob("*/failed.json")}
    assert failed.keys() == {"segfault"}
    assert "crashed by signal 11" in failed["segfault"]["reason"]
    assert any("Segmentation fault" in text for text in failed["segfault"]["log"])
    assert {path.parent.name.split("-")[1] for path in store.glob("*/record.json")} == {"killed", "vq"}


EXITS = {"leaves": "raise SystemExit(0)", "vanishes": "os._exit(0)", "interrupts": "raise KeyboardInterrupt"}


@pytest.mark.usefixtures("fresh_registry")
def test_a_plugin_that_ends_its_process_fails_its_run_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """sys.exit(0), os._exit(0) and KeyboardInterrupt of a quantizer are failures of its run, tried once; others run."""
    suite, store = write(tmp_path, ", ".join([*EXITS, "vq"])), tmp_path / "runs"
    count = f'open("{tmp_path}/" + Path(__file__).stem, "a").write("x")'
    plugins = [plugin(tmp_path, name, f"{count}; {odd}") for name, odd in EXITS.items()]
    options = [word for path in plugins for word in ("--plugin", path)]
    assert vqbench("run", suite, "--store", store, *options) == 1
    assert {name: (tmp_path / name).read_text() for name in EXITS} == dict.fromkeys(EXITS, "x")
    failed = {path.parent.name.split("-")[1]: json.loads(path.read_text()) for path in store.glob("*/failed.json")}
    assert failed["leaves"]["reason"] == "SystemExit: 0"
    assert failed["interrupts"]["reason"] == "KeyboardInterrupt"
    early = "its process ended with exit code 0 before its run was done, as by os._exit"
    assert failed["vanishes"]["reason"].startswith(early)
    assert {path.parent.name.split("-")[1] for path in store.glob("*/record.json")} == {"vq"}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("fresh_registry")
def test_sys_exit_of_a_plugin_is_not_the_exit_of_vqbench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --jobs 0, sys.exit(0) of a quantizer is a failed run and exit code 1, and the next run is done."""
    suite, store = write(tmp_path, "leaves, vq"), tmp_path / "runs"
    leaves = plugin(tmp_path, "leaves", EXITS["leaves"])
    assert vqbench("run", suite, "--store", store, "--plugin", leaves, "--jobs", "0") == 1
    assert "FAILED: SystemExit: 0" in capsys.readouterr().err
    assert {path.parent.name.split("-")[1] for path in store.glob("*/record.json")} == {"vq"}


def test_workers_that_end_before_they_work_are_given_up(tmp_path: Path) -> None:
    """A process that ends with exit code 0 before it is ready counts as a failed start, so that no start repeats."""
    ended = SimpleNamespace(
        job=None, ready=False, leaving=False, log=[], drain=list, process=SimpleNamespace(returncode=0)
    )
    ended.exit_reason = lambda: "its process ended with exit code 0"
    executor = local.LocalExecutor(tmp_path / "runs", RunSettings("cpu"), PlainProgress([], quiet=True), Stop())
    for _ in range(local.MAX_FAILED_STARTS - 1):
        executor._workers = [ended]  # type: ignore[list-item]  # what the executor reads of one
        executor._on_worker_death(ended)  # type: ignore[arg-type]  # likewise
    executor._workers = [ended]  # type: ignore[list-item]  # likewise
    with pytest.raises(VqbenchError, match="no worker process can be started"):
        executor._on_worker_death(ended)  # type: ignore[arg-type]  # likewise


def test_a_run_whose_worker_leaves_before_it_is_counted(tmp_path: Path) -> None:
    """A job that a leaving worker did not receive is queued again, a limited number of times."""
    plan = loading.load(write(tmp_path, "vq"), [])
    job = Job(plan.runs()[0], plan.wanted())
    executor = local.LocalExecutor(tmp_path / "runs", RunSettings("cpu"), PlainProgress([job], quiet=True), Stop())
    left = SimpleNamespace(job=job, ready=False, leaving=True, drain=list, process=SimpleNamespace(returncode=0))
    left.exit_reason, left.last_lines = (lambda: "its process ended with exit code 0"), list
    for times in range(1, 4):
        executor._workers = [left]  # type: ignore[list-item]  # what the executor reads of one
        executor._on_worker_death(left)  # type: ignore[arg-type]  # likewise
        assert len(executor._queue) == (times <= MAX_RESUMES)
        executor._queue.clear()
    failure = executor.store.failure(job.run)
    assert failure is not None
    assert "ended before it began, 3 times" in failure.reason


def test_a_run_that_is_killed_again_and_again_fails(tmp_path: Path) -> None:
    """A killed run is queued again twice, without a failure on record; the third time it is FAILED by that signal."""
    plan = loading.load(write(tmp_path, "vq"), [])
    job = Job(plan.runs()[0], plan.wanted())
    executor = local.LocalExecutor(tmp_path / "runs", RunSettings("cpu"), PlainProgress([job], quiet=True), Stop())
    for times in (1, 2):
        executor._resume(job, "killed by signal 9", [])
        assert (executor._queue.popleft(), executor._kills[job.run.key]) == (job, times)
        assert executor.store.failure(job.run) is None
    executor._resume(job, "killed by signal 9", ["the last words"])
    failure = executor.store.failure(job.run)
    assert failure is not None
    assert failure.reason == f"killed by signal 9, 3 times; with --retry-failed it {FROM_START}"
    assert (failure.log, len(executor._queue)) == (["the last words"], 0)


@pytest.mark.usefixtures("fresh_registry")
def test_a_run_that_takes_too_long_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that hangs is failed after its --timeout, with the reason, and its process is gone."""
    suite, store = write(tmp_path, "hangs"), tmp_path / "runs"
    line = ("run", suite, "--store", store, "--plugin", plugin(tmp_path, "hangs", "time.sleep(3600)"))
    assert vqbench(*line, "--timeout", "1s") == 1
    promised = (
        "took longer than --timeout 1s; with --retry-failed it starts from the beginning, as it has no checkpoint"
    )
    assert promised in capsys.readouterr().err
    assert "took longer than --timeout 1s" in next(store.glob("*/failed.json")).read_text()


def test_a_run_that_is_complete_when_its_process_dies_is_done(whole: Path, tmp_path: Path) -> None:
    """A process that is killed after writing its record leaves a finished run, not a failed one."""
    store = tmp_path / "runs"
    shutil.copytree(whole, store)
    plan = loading.load(write(tmp_path, "vq, cvq"), [])
    vq, cvq = (Job(each, plan.wanted()) for each in plan.runs())
    next(store.glob("*-cvq-*/record.json")).unlink()
    executor = local.LocalExecutor(store, RunSettings("cpu"), PlainProgress([vq, cvq], quiet=True), Stop())
    executor._on_crash(vq, "killed", [])
    executor._on_crash(cvq, "killed", ["last line"])
    assert (executor.summary.finished, len(executor.summary.failed)) == (1, 1)
    assert [path.parent.name.split("-")[1] for path in store.glob("*/failed.json")] == ["cvq"]


def test_out_of_memory_names_the_memory_requested() -> None:
    """torch's out-of-memory messages for any device become one sentence with the amount."""
    from vqbench.execution.runner import describe

    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 58, dtype=torch.uint8)
    assert describe(raised.value).startswith(f"out of memory (asked for {1 << 58} bytes more)")
    message = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which"
    assert describe(torch.OutOfMemoryError(message)).startswith("out of memory (asked for 2.00 GiB more)")


# Side by side ---------------------------------------------------------------------------------------------------------


def test_workers_divide_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker uses all threads, several divide them; settings of the user are kept."""
    for name in ("OMP_NUM_THREADS", *environment.SETTINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert local.worker_environment(1) == {**LARGE_PAGES, **environment.BRIEFLY, **os.environ}
    assert local.worker_environment(3)["OMP_NUM_THREADS"] == "2"
    assert local.worker_environment(30)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert local.worker_environment(3)["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize("name", environment.SETTINGS)
def test_idle_threads_do_not_spin_for_long(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Idle threads of one worker spin briefly, of several not at all, unless the user chose it, by any variable; what
    the driver has set for itself decides nothing."""
    for each in environment.SETTINGS:
        monkeypatch.delenv(each, raising=False)

    def chosen(workers: int) -> dict[str, str]:
        return {
            each: value for each, value in local.worker_environment(workers).items() if each in environment.SETTINGS
        }

    assert chosen(1) == environment.BRIEFLY
    assert chosen(3) == environment.NEVER
    for each, value in environment.waiting(os.environ).items():  # as `cli.main` does
        monkeypatch.setenv(each, value)
    assert chosen(3) == environment.NEVER
    for each in environment.SETTINGS:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "own")
    assert chosen(1) == chosen(3) == {name: "own"}


def test_the_command_limits_spinning_before_it_loads_torch() -> None:
    """The driver's own process, which trains with --jobs 0 and under torchrun, sets it before torch is imported."""
    code = (
        "import os, sys; from vqbench.cli import app; assert 'torch' not in sys.modules\n"
        "app.run_words = lambda _: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)\napp.main()"
    )
    env = {name: value for name, value in os.environ.items() if name not in environment.SETTINGS}
    assert subprocess.check_output([sys.executable, "-c", code], env=env, text=True) == "2000 False\n"


def test_workers_take_the_gpus_in_turn(tmp_path: Path) -> None:
    """Three workers on two GPUs have the first, the second and the first again; a chosen one serves all."""
    stop, listener = Stop(), PlainProgress([], quiet=True)
    for device, devices in (("auto", ["cuda:0", "cuda:1", "cuda:0"]), ("cuda:1", ["cuda:1"] * 3)):
        executor = local.LocalExecutor(tmp_path, RunSettings(device), listener, stop, workers=3)
        executor._gpus = 2
        assert [executor._device_of(number) for number in range(3)] == devices
    executor = local.LocalExecutor(tmp_path, RunSettings(), listener, stop, workers=3)
    assert executor._device_of(2) == "auto", "there is no GPU"


@pytest.mark.parametrize(
    ("gpus", "devices", "given", "first_devices"),
    [
        (3, 2, 2, ["cuda:0"]),
        (3, 2, None, ["cuda:0"]),
        (4, 2, 3, ["cuda:0", "cuda:2"]),
        (8, 3, None, ["cuda:0", "cuda:3"]),
        (8, 3, 1, ["cuda:0"]),
        (1, 2, None, ["cuda:0"]),
        (2, 1, 3, ["cuda:0", "cuda:1", "cuda:0"]),
        (0, 2, 3, ["auto"] * 3),
    ],
)
def test_runs_on_several_gpus_share_none(
    tmp_path: Path, gpus: int, devices: int, given: int | None, first_devices: list[str]
) -> None:
    """Runs of several GPUs each are as many at once as the GPUs have room for, each on GPUs that exist and are its own,
    and one sentence says so where --jobs asks for more; what is more than one machine has is refused by the run."""
    output: list[str] = []
    listener = PlainProgress([], quiet=True)
    listener.log = output.append  # type: ignore[method-assign]
    executor = local.LocalExecutor(tmp_path, RunSettings(devices=devices), listener, Stop(), workers=given)
    for _ in range(2):  # two workers that are ready
        executor._on_message(FakeWorker(), WorkerReady(gpus))  # type: ignore[arg-type]
    assert [executor._device_of(number) for number in range(executor._max_workers)] == first_devices
    assert len(output) == (gpus > 0 and (given or 0) * devices > gpus)
    assert all(("have room for" if devices > 1 else "time slices") in sentence for sentence in output)


@pytest.mark.parametrize(
    ("gpus", "device", "jobs", "shown"),
    [
        (1, "auto", 2, "--jobs 2 on 1 GPU"),
        (2, "cuda", 3, "--jobs 3 on 2 GPUs"),
        (2, "cuda:1", 2, "--jobs 2 on 1 GPU"),
        (2, "auto", 2, ""),
        (2, "auto", None, ""),
        (1, "cpu", 2, ""),
        (0, "auto", 2, ""),
    ],
)
def test_runs_that_share_a_gpu_are_named(tmp_path: Path, gpus: int, device: str, jobs: int | None, shown: str) -> None:
    """More runs than GPUs share them by time slices, which is logged once, however many workers start."""
    output: list[str] = []
    listener = PlainProgress([], quiet=True)
    listener.log = output.append  # type: ignore[method-assign]
    executor = local.LocalExecutor(tmp_path, RunSettings(device), listener, Stop(), workers=jobs)
    for _ in range(jobs or 1):
        executor._on_message(FakeWorker(), WorkerReady(gpus))  # type: ignore[arg-type]
    assert len(output) == bool(shown)
    assert not shown or output[0].startswith(f"{shown}: ")


class FakeWorker:
    """A minimal stand-in for a worker."""

    job = None
    ready = False


def test_a_worker_beyond_the_gpus_has_no_run(tmp_path: Path) -> None:
    """A worker that started before the GPUs were counted gets no run if they have no room for it."""
    listener, first, second = PlainProgress([], quiet=True), FakeWorker(), FakeWorker()
    executor = local.LocalExecutor(tmp_path, RunSettings(devices=2), listener, Stop(), workers=2)
    executor._workers = [first, second]  # type: ignore[list-item]
    first.job, second.ready = object(), True  # type: ignore[assignment]
    executor._on_message(second, WorkerReady(3))  # type: ignore[arg-type]
    executor._queue.extend(Job(run, {}) for run in loading.load(write(tmp_path, "vq"), []).runs())
    executor._assign_jobs()
    assert len(executor._queue) == 1


@pytest.mark.usefixtures("fresh_registry")
def test_runs_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs at once, each waiting for the other, give the weights of sequential runs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    wait = f'''meet = Path("{tmp_path}") / "meet"; meet.mkdir(exist_ok=True)
            (meet / str(os.getpid())).touch()
            while os.environ.get("MEET") and len(list(meet.iterdir())) < 2: time.sleep(0.05)'''
    suite = write(tmp_path, "meets, {meets: {beta: 0.5}, label: other}")
    line = ("run", suite, "--plugin", plugin(tmp_path, "meets", wait))
    monkeypatch.setenv("MEET", "1")
    assert vqbench(*line, "--store", tmp_path / "both", "--jobs", "2") == 0
    monkeypatch.delenv("MEET")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert vqbench(*line, "--store", tmp_path / "alone", "--jobs", "0") == 0
    torch.set_num_threads(threads)
    assert_same(tmp_path / "both", tmp_path / "alone")
    assert values(tmp_path / "both") == values(tmp_path / "alone")


def test_two_drivers_share_the_work(tmp_path: Path) -> None:
    """Two commands on one folder train every run once between them, and both end with the whole table."""
    suite, store = write(tmp_path, "vq, cvq, vq_ema"), tmp_path / "runs"
    line = command("run", suite, "--store", store)
    with (
        subprocess.Popen(line, stdout=-1, stderr=-1, text=True) as one,
        subprocess.Popen(line, stdout=-1, stderr=-1, text=True) as two,
    ):
        (out_one, said_one), (out_two, said_two) = one.communicate(), two.communicate()
    assert (one.returncode, two.returncode) == (0, 0), said_one + said_two
    assert out_one == out_two
    assert (said_one + said_two).count(": training\n") == 3


# Nothing lost ---------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(("name", "harm"), [("last.pt", flip), ("last.pt", truncate), ("best.pt", flip)])
def test_a_damaged_checkpoint_is_set_aside(
    name: str, harm: object, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One flipped bit is detected; the file is renamed, and the run is repeated with the same weights."""
    suite, store = write(tmp_path, "vq, cvq"), tmp_path / "runs"
    shutil.copytree(whole, store)
    victim = next(store.glob(f"*-vq-*/{name}"))
    harm(victim)  # type: ignore[operator]
    harmed = victim.read_bytes()
    (victim.parent / "record.json").unlink()
    capsys.readouterr()
    assert vqbench("run", suite, "--jobs", "0", "--store", store) == 0
    assert f"{victim}: the checkpoint is damaged or truncated" in capsys.readouterr().err
    assert victim.with_name(f"{name}.damaged").read_bytes() == harmed
    assert_same(store, whole)


def test_a_damaged_record_is_set_aside(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``table`` names a record with changed values in one sentence; ``run`` evaluates again and trains nothing."""
    suite, store = write(tmp_path, "vq, cvq"), tmp_path / "runs"
    line = ("run", suite, "--store", store, "--jobs", "0")
    shutil.copytree(whole, store)
    weights = {path: path.stat().st_mtime_ns for path in store.glob("*/*.pt")}
    record = sorted(store.glob("*/record.json"))[0]
    content = json.loads(record.read_text())
    content["values"]["clean"]["psnr"]["value"] += 1  # what one might wish for
    record.write_text(json.dumps(content))
    capsys.readouterr()
    assert vqbench("table", suite, "--store", store) == 1
    output = capsys.readouterr().err
    assert "its content does not fit its digest" in output
    assert output.count("\n") == 1
    assert vqbench(*line) == 0
    assert "record.json is now record.json.damaged" in capsys.readouterr().err
    assert record.with_name("record.json.damaged").exists()
    assert values(store) == values(whole)
    assert {path: path.stat().st_mtime_ns for path in store.glob("*/*.pt")} == weights


@pytest.fixture(params=["disk", "limit"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None], str]]:
    """A results folder with too little room: on a disk of 200 kB or, for every file, under the system's limit.

    Its path, what makes the limit in a new process, and what the system says.
    """
    store = tmp_path / "runs"
    store.mkdir()
    if request.param == "limit":
        yield store, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)), "File too large"
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", store], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    yield store, lambda: None, "No space left on device"
    subprocess.run(["umount", store], check=True)


def test_a_full_disk_leaves_the_store_readable(
    full: tuple[Path, Callable[[], None], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no more can be written, the command ends with one sentence, every other one works, and it resumes."""
    store, limit, why = full
    suite = write(tmp_path, "vq, cvq")
    line = ("run", suite, "--store", store)
    ended = subprocess.run(command(*line, "-q"), preexec_fn=limit, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"cannot write ({why}); free space" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not list(store.glob("*/.*"))
    for word in ("status", "table", "plan"):
        assert vqbench(word, suite, "--store", store) == 0
    if os.path.ismount(store):
        subprocess.run(["mount", "-o", "remount,size=50m", store], check=True)
    assert vqbench(*line, "-q", "--jobs", "0") == 0


def test_a_folder_that_cannot_be_written_is_noticed_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A results folder that cannot be written is refused before anything is fetched or started."""
    suite = write(tmp_path, "vq")
    assert vqbench("run", suite, "--store", "/proc/vqbench") == 1
    output = capsys.readouterr().err
    assert "/proc/vqbench" in output
    assert "cannot write" in output
    assert output.count("\n") == 1


@pytest.mark.usefixtures("fresh_registry")
def test_a_killed_driver_leaves_nothing_behind(tmp_path: Path) -> None:
    """When the driver is killed, its worker saves a checkpoint and exits; resumed, the weights are the same."""
    suite, store = write(tmp_path, "slow"), tmp_path / "runs"
    line = ("run", suite, "-q", "--plugin", plugin(tmp_path, "slow", SLOW), "--store")
    mark = tmp_path / "mark"
    with running(*line, store, SLOW=str(mark)) as work:
        wait_for(mark.exists, work)
        workers = children(work.pid)
        work.kill()
        work.wait()
    wait_for_exit(workers)
    assert 20 < torch.load(next(store.glob("*/last.pt")))["progress"]["step"] < 55
    for folder in (store, tmp_path / "whole"):
        assert vqbench(*line, folder, "--jobs", "0") == 0
    assert_same(store, tmp_path / "whole")
    assert values(store) == values(tmp_path / "whole")


@pytest.mark.slow
def test_killed_at_random_moments_nothing_changes(tmp_path: Path) -> None:
    """Driver and workers killed 24 times at random moments: weights and values are those of a suite left alone."""
    suite = write(tmp_path, "cvq, sqvae, hvq, vq_ema, vq, {cvq: {online: false}, label: offline}", epochs=3)
    line = ("run", suite, "-q", "--retry-failed", "--jobs", "2", "--store")
    often = {**os.environ, "VQBENCH_CHECKPOINT_EVERY": "0", "OMP_NUM_THREADS": "1"}
    chance, kills, killed = random.Random(0), 0, {"driver": 0, "worker": 0}
    store, round_ = tmp_path / "killed", 0
    while kills < 24:
        if store.exists() and len(list(store.glob("*/record.json"))) == 6:  # all done: a new round, compared below
            round_ += 1
            store = tmp_path / f"killed{round_}"
        with subprocess.Popen(command(*line, store), stdout=subprocess.DEVNULL, env=often) as work:
            while work.poll() is None and kills < 24:
                time.sleep(chance.uniform(1, 8))
                victims = {"driver": [work.pid], "worker": children(work.pid)}
                victim = chance.choice(["driver", "worker", "worker"])
                if work.poll() is None and victims[victim]:
                    os.kill(chance.choice(victims[victim]), signal.SIGKILL)
                    kills += 1
                    killed[victim] += 1
            if work.poll() is None:
                work.kill()
    print(killed, f"in {round_ + 1} rounds")
    assert min(killed.values()) > 3
    env = {**often, "VQBENCH_CHECKPOINT_EVERY": "15"}
    stores = list(tmp_path.glob("killed*"))
    for folder in (*stores, tmp_path / "whole"):
        subprocess.run(command(*line, folder), check=True, env=env, stdout=subprocess.DEVNULL)
    for folder in stores:
        assert_same(folder, tmp_path / "whole")
        assert values(folder) == values(tmp_path / "whole")
    assert len(list(ResultStore(tmp_path / "whole").records())) == 6


# Several suites -------------------------------------------------------------------------------------------------------


def test_suites_share_their_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two suites in one command train shared runs once, compute the metrics of both, and print both tables."""
    first = write(tmp_path, "vq, cvq")
    second = tmp_path / "second.yaml"
    content = first.read_text().replace("name: tiny", "name: second").replace("vq, cvq", "vq, vq_ema")
    second.write_text(content.replace("[l1, psnr, usage]\ntable", "[l1, ssim]\ntable").replace("psnr, usage, s", "s"))
    store = tmp_path / "runs"
    line = (first, second, "--store", store, "--seeds", "42,43")
    assert vqbench("run", *line, "--jobs", "0") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("tiny\n")
    assert "\nsecond\n" in shown.out
    assert shown.err.count(": training\n") == 6, "three quantizers, two seeds"
    shared = next(store.glob("*-vq-*/record.json"))
    assert json.loads(shared.read_text())["values"]["clean"].keys() == {"l1", "psnr", "usage", "ssim"}
    assert vqbench("table", first, "--store", store, "--seeds", "42,43") == 0
    assert "4 records of 4" in capsys.readouterr().out
    assert vqbench("publish", *line, "--results", tmp_path / "results") == 0
    assert len(list((tmp_path / "results").glob("*/record.json"))) == 6
    assert vqbench("table", first, "--store", tmp_path / "results", "--seeds", "42,43") == 0
    assert "4 records of 4" in capsys.readouterr().out
    assert vqbench("run", *line[:-1], "42;43") == 2


def test_the_cheapest_run_comes_first(tmp_path: Path) -> None:
    """Trained runs come first, then started ones; each group is sorted by measured seconds, or else by updates."""
    plan = loading.load(write(tmp_path, "vq, cvq, sqvae, hvq, vq_ema"), [])
    vq, cvq, sqvae, hvq, vq_ema = plan.runs()
    store = ResultStore(tmp_path / "runs")
    jobs = [Job(run, plan.wanted()) for run in plan.runs()]

    def ordered() -> list[Job]:
        return cheapest_first(store, jobs, expected_seconds([plan], store.summaries(), jobs))

    assert ordered() == jobs, "nothing is known, and the updates are the same"
    for run_, took in ((vq, 9.0), (cvq, 3.0)):
        other = RunSpec(run_.recipe, run_.backbone, run_.dataset, run_.quantizer, seed=7)
        store.write(Record(other, {}, {"seconds": took}))
    assert [job.run for job in ordered()] == [cvq, vq, sqvae, hvq, vq_ema]
    store.write(Record(sqvae, {}, {"seconds": 99.0}))
    store.folder(vq_ema).mkdir()
    (store.folder(vq_ema) / "last.pt").touch()
    assert [job.run for job in ordered()] == [sqvae, vq_ema, cvq, vq, hvq]


@pytest.mark.parametrize(("resumes", "said"), [(True, "the same command resumes it"), (False, "nothing is kept: run")])
def test_a_signal_says_what_is_kept(resumes: bool, said: str) -> None:
    """Work that keeps nothing when it is stopped does not say that the next call resumes it."""
    for number, kind in ((signal.SIGTERM, Evicted), (signal.SIGINT, Interrupted)):
        stop = Stop(resumes=resumes)
        with stop.graceful(lambda text: None):
            stop.on_signal(number)
        assert type(stop.cause) is kind
        assert said in str(stop.cause)
