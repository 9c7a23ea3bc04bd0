"""Suites on clusters: real nodes, killed mid-suite, without losses; the cost of thousands of runs."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vqbench as package
from tests.support.clusters import alone, noting_plugin, passes, ray_is_there
from tests.support.processes import PATIENCE, plugin, running, wait_for
from tests.support.tiny_suite import assert_same, command, values, vqbench, write
from vqbench import registry
from vqbench.errors import UsageError
from vqbench.execution.executors import cluster_node
from vqbench.execution.executors.cluster_node import RemoteJob, RemoteResult, run_remote_job, user_files
from vqbench.execution.executors.executor_options import ExecutorOptions
from vqbench.execution.executors.file_sync import pack, unpack
from vqbench.execution.executors.ray_cluster import capacity
from vqbench.execution.messages import RunResult, RunSettings
from vqbench.planning import loading
from vqbench.planning.forecast import simulate
from vqbench.spec import Job, RunSpec
from vqbench.store.record import Record
from vqbench.store.results import ResultStore
from vqbench.system import environment

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("threads_of_a_task")]

SLOW = 'time.sleep(0.3 if Path("{folder}/slow").exists() else 0)'
UPDATES = 55  # of a run of the tiny suite


# On a node, without a cluster -----------------------------------------------------------------------------------------


def remote_job(suite: Path, *plugins: Path, **changes: Any) -> RemoteJob:
    """The first run of ``suite``, ready to be carried out anywhere."""
    for path in plugins:
        registry.add_file(path)
    plan = loading.load(suite, [])
    given: dict[str, Any] = {
        "job": Job(plan.runs()[0], plan.wanted()),
        "settings": RunSettings("cpu", plugins=plugins),
        "files": {},
        "user_files": tuple(path.read_bytes() for path in plugins),
        "assets": (),
        "threads": 1,
        "timeout": None,
        "variables": {},
        "version": package.__version__,
    }
    return RemoteJob(**{**given, **changes})


def carried_out(job: RemoteJob, store: Path, stop_at: int = 10**9) -> RemoteResult:
    """Carry out a remote job and write its files, as the driver does; it stops at the update ``stop_at``."""
    folder = store / f"fashion_mnist_5k-{job.job.run.quantizer.name}-{job.job.run.key}"

    def post(messages: list[object], files: dict[str, bytes]) -> bool:
        unpack(folder, files)
        return any(getattr(message, "done", 0) >= stop_at for message in messages)

    returned = run_remote_job(job, post)
    unpack(folder, returned.files)
    return returned


def test_only_what_changed_travels(tmp_path: Path) -> None:
    """A folder is packed once and then only where it changed, without locks and scratch; a record is written last."""
    folder, seen = tmp_path / "run", {}
    (folder / "images").mkdir(parents=True)
    for name in ("last.pt", "best.pt", "lock", ".scratch", "images/one.png", "record.json", "failed.json"):
        (folder / name).write_text(name)
    files = pack(folder, seen)
    assert next(iter(files)) in ("last.pt", "record.json"), "what refers to others is read before them"
    assert files.keys() == {"last.pt", "best.pt", "images/one.png", "record.json", "failed.json"}
    assert pack(folder, seen) == {}
    (folder / "best.pt").write_text("a better one")
    assert pack(folder, seen) == {"best.pt": b"a better one"}
    assert pack(folder, only=("best.pt",)) == {"best.pt": b"a better one"}
    copy = tmp_path / "copy"
    unpack(copy, {"failed.json": b"failed.json"})
    unpack(copy, {name: content for name, content in files.items() if name != "failed.json"})
    assert not (copy / "failed.json").exists(), "a run with a record has not failed"
    order = sorted((path for path in copy.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    assert {path.name for path in order[-2:]} == {"last.pt", "record.json"}


def test_a_run_stopped_on_one_node_resumes_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped mid-training and resumed from the returned files, a run has the weights of the local executor."""
    monkeypatch.setattr(cluster_node, "SEND_EVERY", 0.0)  # a fast machine trains it between two messages
    epochs = 6
    first = remote_job(write(tmp_path, "vq", epochs=epochs), settings=RunSettings("cpu", checkpoint_interval=0.0))
    scratch, store = tmp_path / "scratch", tmp_path / "runs"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))  # of this test alone
    stopped = carried_out(first, store, stop_at=1)
    assert (stopped.result.status, stopped.evicted) == ("stopped", False)
    checkpoint = next(store.glob("*/last.pt"))
    assert 0 < torch.load(checkpoint)["progress"]["step"] < epochs * UPDATES
    assert not list(store.glob("*/record.json"))
    again = remote_job(tmp_path / "tiny.yaml", files=pack(checkpoint.parent))
    assert carried_out(again, store).result.status == "done"
    alone("run", tmp_path / "tiny.yaml", "--store", tmp_path / "local")
    assert_same(store, tmp_path / "local")
    assert values(store) == values(tmp_path / "local")
    assert not list(scratch.glob("vqbench-*")), "nothing stays on the node"


def test_a_crash_on_a_node_is_a_failed_run(tmp_path: Path) -> None:
    """A run that crashes or takes too long on a node is returned as failed, with the reason and its last lines."""
    crash = 'print("the last words", flush=True); os._exit(7)'
    store = tmp_path / "runs"
    returned = carried_out(remote_job(write(tmp_path, "crash"), noting_plugin(tmp_path, "crash", crash)), store)
    assert returned.result.status == "failed"
    failure = json.loads(next(store.glob("*/failed.json")).read_text())
    assert failure["reason"].startswith("its process ended with exit code 7")
    assert failure["log"][-1] == "the last words"
    hangs = remote_job(write(tmp_path, "hangs"), noting_plugin(tmp_path, "hangs", "time.sleep(3600)"), timeout=1.0)
    assert "took longer than --timeout 1s" in carried_out(hangs, store).result.reason


def test_settings_reach_the_worker_on_a_node(tmp_path: Path) -> None:
    """Logger, determinism and offline travel to the process that trains, and what the logger writes comes back."""
    demand = "import torch; from vqbench.assets import fetching; "
    demand += "assert torch.are_deterministic_algorithms_enabled() and fetching._no_downloads"
    odd, logger = plugin(tmp_path, "demanding", "pass", always=demand), tmp_path / "logger.py"
    logger.write_text(
        "from vqbench.execution.loggers import RunLogger\n"
        "class Log(RunLogger):\n"
        "    def __init__(self, info): self.path = info.folder / 'epochs.txt'\n"
        "    def log_epoch(self, epoch, numbers): self.path.write_text(str(epoch))\n"
    )
    settings = RunSettings("cpu", 1, (odd,), f"{logger}:Log", deterministic=True, offline=True)
    files = tuple(path.read_bytes() for path in user_files(settings))
    job, store = remote_job(write(tmp_path, "demanding"), odd, settings=settings, user_files=files), tmp_path / "runs"
    logger.unlink()  # a node has files of its own
    assert carried_out(job, store).result == RunResult("done")
    assert next(store.glob("*/epochs.txt")).read_text() == "1"
    assert json.loads(next(store.glob("*/record.json")).read_text())["made"]["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled(), "the driver's own process is left alone"


def test_another_version_on_a_node_is_refused(tmp_path: Path) -> None:
    """A node with another vqbench, or without the data, starts no run: its error stops the whole command."""
    suite = write(tmp_path, "vq")
    with pytest.raises(UsageError, match="install the same on all"):
        run_remote_job(remote_job(suite, version="0.0"), lambda messages, files: False)
    with pytest.raises(UsageError, match="no asset is called 'nothing'"):
        run_remote_job(remote_job(suite, assets=("nothing",)), lambda messages, files: False)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--executor", "kubernetes"), "known: local, ray, slurm"),
        (("--address", "auto"), "--address is for --executor ray"),
        (("--slurm", "partition=gpu"), "--slurm is for --executor slurm"),
        (("--executor", "ray", "--jobs", "2"), "--jobs is for this machine"),
        (("--executor", "ray", "--device", "cuda:1"), "the cluster assigns the GPUs"),
        (("--executor", "ray", "--devices", "2", "--gpus-per-run", "0.5"), "fewer than --devices 2"),
        (("--executor", "slurm", "--devices", "2", "--slurm", "gpus=1"), "fewer than --devices 2"),
    ],
)
def test_options_that_do_not_go_together(
    words: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option without a meaning for the chosen executor is refused, and nothing is started."""
    assert vqbench("run", "quick", *words) == 2
    assert error in capsys.readouterr().err


def test_how_many_runs_fit_a_node() -> None:
    """The scarcest resource of a node limits its runs; fractions of a GPU are counted exactly."""
    assert capacity({"CPU": 8, "GPU": 1}, {"CPU": 1, "GPU": 0.1}) == 8
    assert capacity({"CPU": 64, "GPU": 1}, {"CPU": 1, "GPU": 0.1}) == 10
    assert capacity({"CPU": 64}, {"CPU": 1, "GPU": 1}) == 0
    assert ExecutorOptions("ray", gpus=0.25).gpus == 0.25
    for options, devices in ((ExecutorOptions("ray", gpus=0.25), 1), (ExecutorOptions("ray", gpus=0), 2)):
        options.check("auto", None, devices)


# Ray ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@ray_is_there
def test_a_killed_node_costs_no_run(cluster: Any, tmp_path: Path) -> None:
    """A node killed mid-suite: its run resumes elsewhere from its last checkpoint, with the results of one machine."""
    suite, file = write(tmp_path, "slow, {slow: {beta: 0.5}, label: other}, vq"), noting_plugin(tmp_path, "slow", SLOW)
    line = ("run", suite, "--plugin", file, "--store")
    (tmp_path / "slow").touch()
    victim = cluster.add_node(**cluster.place)
    cluster.wait_for_nodes()
    store = tmp_path / "ray"
    words = (*line, store, "--executor", "ray", "--address", cluster.address)
    with running(*words, VQBENCH_CHECKPOINT_EVERY="0") as work:
        wait_for(lambda: len(list(store.glob("*-slow-*/last.pt"))) == 2, work)  # one on each node
        cluster.remove_node(victim, allow_graceful=False)
        (tmp_path / "slow").unlink()
        assert work.stderr is not None
        output = work.stderr.read()
        assert work.wait() == 0, output
    assert output.count("it resumes elsewhere from its last checkpoint") == 1, output
    counts = list(passes(tmp_path).values())
    assert len(counts) == 3, "two runs, one of them in two processes"
    assert UPDATES <= sum(counts) < 3 * UPDATES, "the second process did not begin anew"
    assert counts[2] < UPDATES
    alone(*line, tmp_path / "local")
    assert_same(store, tmp_path / "local")
    assert values(store) == values(tmp_path / "local")


@ray_is_there
def test_a_suite_on_ray(cluster: Any, tmp_path: Path) -> None:
    """A user's plugin reaches the nodes, a crash fails only its own run, and progress is shown live."""
    suite, file = write(tmp_path, "bad, vq"), noting_plugin(tmp_path, "bad", 'print("alas", flush=True); os._exit(7)')
    store = tmp_path / "runs"
    line = command("run", suite, "--plugin", file, "--store", store, "--executor", "ray", "--address", cluster.address)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "[2/2] vq: evaluating\n" in done.stderr
    assert "FAILED: its process ended with exit code 7" in done.stderr
    assert json.loads(next(store.glob("*-bad-*/failed.json")).read_text())["log"][-1] == "alas"
    record = next(store.glob("*/record.json"))
    assert {path.name for path in record.parent.iterdir()} == {
        *("record.json", "per_image.npz", "curves.npz", "portrait.npz", "best.pt", "last.pt", "lock")
    }
    assert vqbench("table", suite, "--plugin", file, "--store", store) == 0


@pytest.mark.slow
@ray_is_there
def test_sigterm_to_a_ray_driver_keeps_the_work(cluster: Any, tmp_path: Path) -> None:
    """SIGTERM to the driver ends with code 75 and the work in its store; it resumes, one run at a time per core."""
    words = 'if Path("{folder}/slow").exists(): time.sleep(0.3)\n'
    words += "            else: time.sleep(0.1)\n"
    words += (
        '            if self.count > 30 and not Path("{folder}/slow").exists(): print("alas", flush=True); os._exit(7)'
    )
    suite, file = write(tmp_path, "bad, {bad: {beta: 0.5}, label: other}, vq"), noting_plugin(tmp_path, "bad", words)
    store = tmp_path / "runs"
    line = ("run", suite, "--plugin", file, "--store", store, "--executor", "ray", "--address", cluster.address)
    (tmp_path / "slow").touch()
    with running(*line) as work:
        wait_for(lambda: (tmp_path / "passes").exists() and sum(passes(tmp_path).values()) > 21, work)
        work.send_signal(signal.SIGTERM)
        assert work.stderr is not None
        output = work.stderr.read()
        assert work.wait() == 75, output
    assert "Traceback" not in output
    assert len(passes(tmp_path)) == 1
    assert [20 < torch.load(path)["progress"]["step"] < UPDATES for path in store.glob("*/last.pt")] == [True]
    assert not list(store.glob("*/record.json"))
    (tmp_path / "slow").unlink()
    done = subprocess.run(command(*line), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert len(list(store.glob("*-vq-*/record.json"))) == 1
    logs = [json.loads(path.read_text())["log"] for path in store.glob("*-bad-*/failed.json")]
    assert [log[-1] for log in logs] == ["alas"] * 2
    order = [process for process, _ in itertools.groupby((tmp_path / "passes").read_text().split())]
    assert len(order) == len(set(order)) == 3, "one core, so one run after the other"


@ray_is_there
def test_a_cluster_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong --address is one sentence, and wrong usage."""
    suite = write(tmp_path, "vq")
    line = ("run", suite, "--store", tmp_path / "runs", "--executor", "ray", "--address", "127.0.0.1:1")
    assert vqbench(*line) == 2
    assert "no connection to a cluster at '127.0.0.1:1'" in capsys.readouterr().err


# What thousands of runs take ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "takes", "busy"), [(1, 10.0, 1.0), (2, 6.0, 10 / 12), (4, 4.0, 10 / 16), (1000, 4.0, 10 / 4000)]
)
def test_simulated_jobs(jobs: int, takes: float, busy: float) -> None:
    """Runs are assigned in order to the first free worker; no order beats the longest run or an even share."""
    seen = simulate([1.0, 2.0, 3.0, 4.0], jobs)
    assert (seen.jobs, seen.makespan) == (jobs, takes)
    assert seen.busy == pytest.approx(busy)
    assert seen.at_least == max(4.0, 10.0 / jobs)
    assert simulate([], jobs).makespan == 0


def test_jobs_on_one_gpu_take_turns() -> None:
    """Four runs side by side on two GPUs take as long as two side by side; spare GPUs change nothing."""
    seconds = [1.0, 2.0, 3.0, 4.0]
    shared = simulate(seconds, 4, gpus=2)
    assert shared == replace(simulate(seconds, 2), jobs=4)
    assert simulate(seconds, 4, gpus=1).makespan == sum(seconds)
    assert simulate(seconds, 2, gpus=8) == simulate(seconds, 2)


def test_gpus_are_counted_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPUs of a machine are its numbered devices, as far as the user lets CUDA see them."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    for visible, count in ((None, 2), ("1", 1), ("0,1,2,3", 2), ("", 0), ("-1", 0)):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert environment.count_gpus(tmp_path) == count


def test_the_plan_shares_the_gpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with one GPU, `plan --cost --jobs 4` takes as long as one job on a GPU, and says so; a CPU's times
    are divided, and --gpus counts with other machines."""
    suite, store = write(tmp_path, "vq"), ResultStore(tmp_path / "runs")
    (run,) = loading.load(suite, []).runs()
    for seed, device in ((1, "a GPU"), (2, "a CPU")):
        made = {"device": device, "cpu": "a CPU", "seconds": 11.0, "measured": []}
        store.write(Record(RunSpec(run.recipe, run.backbone, run.dataset, run.quantizer, seed), {}, made))
    monkeypatch.setattr(environment, "count_gpus", lambda: 1)
    line = ("plan", suite, "--store", store.root, "--results", tmp_path / "none", "--cost", "--seeds", "11,12,13,14")
    jobs = ("--jobs", "1", "--jobs", "4")

    def times(*more: str) -> dict[str, list[float]]:
        assert vqbench(*line, *jobs, *more, "--json") == 0
        devices = json.loads(capsys.readouterr().out)["devices"]
        return {
            each["device"]: [round(job["makespan"] / job["device_hours"] / 3600, 9) for job in each["jobs"]]
            for each in devices
        }

    assert times() == {"a CPU": [1.0, 0.25], "a GPU": [1.0, 1.0]}
    assert times("--gpus", "2") == {"a CPU": [1.0, 0.25], "a GPU": [1.0, 0.5]}
    assert vqbench(*line, *jobs) == 0
    shown = capsys.readouterr().out
    assert shown.count("Jobs share 1 GPU by time slices") == 1
    assert shown.count("Each job has such a device to itself") == 1
    assert vqbench("plan", suite, "--gpus", "2") == 2


def test_thousands_of_runs_are_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand runs cost their updates times the measured seconds per update; unmeasured runs are only named."""
    suite, store = write(tmp_path, "vq, cvq"), ResultStore(tmp_path / "runs")
    line = ("plan", suite, "--store", store.root, "--results", tmp_path / "none", "--cost", "--json")
    assert vqbench(*line) == 0
    assert json.loads(capsys.readouterr().out)["devices"] == [], "nothing was measured, so nothing is forecast"
    plan = loading.load(suite, [])
    vq, _ = plan.runs()
    metrics = {name: list(each) for name, each in plan.wanted().items()}
    for seed, seconds, device in ((1, 11.0, "a CPU"), (2, 5.5, "a CPU"), (3, 5.5, "a CPU"), (4, 1.1, "a GPU")):
        training = {"device": device, "seconds": seconds, "threads": 2}
        pass_ = {"device": device, "threads": 2, "seconds": 2.5, "metrics": metrics}
        run = RunSpec(vq.recipe, vq.backbone, vq.dataset, vq.quantizer, seed)
        store.write(Record(run, {}, {**training, "measured": [] if device == "a GPU" else [pass_]}))
    seeds = ",".join(str(seed) for seed in range(1000, 2000))
    assert vqbench(*line, "--epochs", "10", "--seeds", seeds, "--jobs", "1", "--jobs", "64") == 0
    forecast = json.loads(capsys.readouterr().out)
    assert forecast["left"] == 2000
    cpu, gpu = forecast["devices"]
    assert cpu["device"] == "a CPU, 2 threads"
    assert cpu["counted"] == 1000
    assert cpu["not_counted"] == {"cvq on fashion_mnist_5k": 1000}
    assert cpu["training_seconds"] == pytest.approx(1000 * 550 * 0.1), "the median of three: 0.1 s an update"
    assert cpu["measuring_seconds"] == pytest.approx(1000 * 2.5)
    one, many = cpu["jobs"]
    assert one["makespan"] == pytest.approx(1000 * 57.5)
    assert many["makespan"] == pytest.approx(16 * 57.5), "1000 runs, 64 side by side, are 16 rounds"
    assert many["busy"] == pytest.approx(1000 / 1024)
    assert many["device_hours"] == pytest.approx(1000 * 57.5 / 3600)
    assert gpu["measuring_not_counted"] == {"vq on fashion_mnist_5k": 1000}
    assert gpu["measuring_seconds"] == 0
    assert vqbench(*line[:-1], "--set", "codebook.num_codes=128") == 0
    shown = capsys.readouterr().out
    assert "a CPU, 2 threads: 0 of 2 runs" in shown, "another codebook is another cost"
    assert vqbench("plan", suite, "--jobs", "2") == 2


# Slurm ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_slurm_is_warned_and_queues_again(slurm: Path, tmp_path: Path) -> None:
    """Slurm's warning mid-training saves a checkpoint and requeues the task, which resumes with local results."""
    suite, file = write(tmp_path, "slow, vq"), noting_plugin(tmp_path, "slow", SLOW)
    line = ("run", suite, "--plugin", file, "--store")
    (tmp_path / "slow").touch()
    with running(*line, tmp_path / "slurmed", "--executor", "slurm") as work:
        wait_for(lambda: (tmp_path / "passes").exists() and sum(passes(tmp_path).values()) > 21, work)
        step = int((slurm / "step").read_text())
        workers = Path(f"/proc/{step}/task/{step}/children").read_text().split()
        for process in (step, *map(int, workers)):  # as Slurm does: the signal is for all processes of the step
            os.kill(process, signal.SIGUSR2)
        (tmp_path / "slow").unlink()
        _, output = work.communicate(timeout=PATIENCE)
        assert work.returncode == 0, output + (slurm / "log").read_text()
    assert "2 runs in 2 tasks: Slurm job 7" in output
    assert (slurm / "started").read_text().split() == ["0", "0", "1"], "the first task was queued again"
    first, second = passes(tmp_path).values()
    assert first + second == UPDATES, "it went on where it was"
    alone(*line, tmp_path / "local")
    assert_same(tmp_path / "slurmed", tmp_path / "local")
    assert values(tmp_path / "slurmed") == values(tmp_path / "local")


@pytest.mark.slow
def test_failed_runs_on_slurm(slurm: Path, tmp_path: Path) -> None:
    """An array continues after the command that submitted it; the next one reports failed runs with their reason."""
    suite, file = write(tmp_path, "bad, vq"), noting_plugin(tmp_path, "bad", "os._exit(7)")
    line = command("run", suite, "--plugin", file, "--store", tmp_path / "runs", "--executor", "slurm")
    done = subprocess.run([*line, "--time-limit", "1s"], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    until = time.monotonic() + PATIENCE
    while not (slurm / "over_7").exists():
        assert time.monotonic() < until, (slurm / "log").read_text()
        time.sleep(0.05)
    assert len(list((tmp_path / "runs").glob("*-vq-*/record.json"))) == 1
    again = subprocess.run([*line, "--retry-failed"], capture_output=True, text=True, check=False)
    assert again.returncode == 1, again.stderr
    assert "FAILED: its process ended with exit code 7" in again.stderr


def test_one_slurm_array_is_submitted_with_requeue(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One array with requeue and a warning signal is submitted; it keeps running after the command's time limit."""
    (slurm / "full").touch()  # the array waits in the queue
    words = ("partition=gpu", "time=2h", "gpus=1", "parallel=64", "nice=100")
    options = [each for word in words for each in ("--slurm", word)]
    line = ("run", write(tmp_path, "vq, cvq"), "--store", tmp_path / "runs", "--seeds", "1,2,3", "--time-limit", "1s")
    assert vqbench(*line, "--executor", "slurm", *options) == 3
    output = capsys.readouterr().err
    assert "6 runs in 6 tasks: Slurm job 7" in output
    assert "the array continues without this command; `scancel 7` ends it" in output
    script = (slurm / "script_7").read_text()
    for option in ("partition=gpu", "time=120", "gpus-per-node=1", "nice=100", "requeue", "signal=USR2@90"):
        assert f"#SBATCH --{option}\n" in script
    assert "#SBATCH --array=0-5%6\n" in script
    assert "srun" in script
    assert len(list((tmp_path / "runs" / "slurm").glob("7_*/*submitted.pkl"))) == 6


def test_words_for_slurm() -> None:
    """Parameters are checked before submission; those unknown to submitit are passed to sbatch unchanged."""
    from vqbench.execution.executors.slurm import parse_parameters

    given = parse_parameters(["gpus=2", "cpus=8", "time=1h30m", "parallel=16", "warning=120", "reservation=mine"])
    assert given["gpus_per_node"] == 2
    assert given["cpus_per_task"] == 8
    assert given["time"] == 90
    assert given["array_parallelism"] == 16
    assert given["signal_delay_s"] == 120
    assert given["additional_parameters"] == {"requeue": True, "reservation": "mine"}
    assert parse_parameters([], devices=2)["cpus_per_task"] == 2
    assert parse_parameters(["cpus=8"], devices=2)["cpus_per_task"] == 8
    for wrong in ("partition", "gpus=two", "time=soon", "=1"):
        with pytest.raises(UsageError):
            parse_parameters([wrong])
