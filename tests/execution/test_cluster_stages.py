"""Runs that build on others, on clusters: in order, with the weights of their first stage, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import vqbench as package
from tests.support.clusters import alone, noting_plugin, passes, ray_is_there
from tests.support.processes import running, wait_for
from tests.support.tiny_suite import assert_same, command, values, write
from vqbench import registry
from vqbench.errors import StoreError
from vqbench.execution.executors.cluster_node import (
    RemoteJob,
    RemoteResult,
    _temporary_folder,
    run_remote_job,
)
from vqbench.execution.executors.executor_options import ExecutorOptions
from vqbench.execution.executors.file_sync import has_progress, pack, unpack
from vqbench.execution.executors.first_stages import WeightsInCluster
from vqbench.execution.executors.ray import ActiveJob, RayExecutor
from vqbench.execution.executors.slurm import SlurmExecutor, after, by_stage
from vqbench.execution.messages import RunResult, RunSettings
from vqbench.execution.runner import Runner, SilentListener
from vqbench.execution.stopping import Stop
from vqbench.execution.suite_runner import _failed_earlier, missing_jobs
from vqbench.planning import loading
from vqbench.planning.cost import cheapest_first
from vqbench.spec import Job
from vqbench.store.record import Failure
from vqbench.store.results import ResultStore

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("threads_of_a_task")]

STEPS = 60  # of a second stage
SUITE = """
name: staged
train: {{clean: {{epochs: 1, batch_size: 64, learning_rate: 1e-3, subset: 1100}}}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {{conv: {{hidden: 16, residual_hidden: 8}}}}
codebook: {{num_codes: 64, dim: 8}}
quantizers: [{rows}]
{second}
metrics: [{metrics}]
table: {{columns: [{metrics}]}}
"""
PRIOR = f"{{steps: {STEPS}, batch_size: 8, width: 16, layers: 1, heads: 2, subset: 100}}"
SAMPLES = "samples: {count: 6, reference: test}"

# A prior that a user might bring. Its updates are noted, and take long while a file exists.
SLOW_PRIOR = '''
import os
import time
from dataclasses import replace
from pathlib import Path

from vqbench.recipes.autoregressive import Autoregressive


class SlowPrior(Autoregressive):
    """A prior that notes each of its updates."""

    def fit(self, task):
        advanced = task.progress

        def noted(done, total):
            advanced(done, total)
            print(os.getpid(), file=open("{folder}/passes", "a"))
            time.sleep(0.3 if Path("{folder}/slow").exists() else 0)

        return super().fit(replace(task, progress=noted))
'''


def with_prior(folder: Path, rows: str, prior: str = "autoregressive") -> Path:
    """Write a suite with a small prior on each row."""
    path = folder / "staged.yaml"
    second = f"generate: {{{prior}: {PRIOR}}}\n{SAMPLES}"
    path.write_text(SUITE.format(rows=rows, second=second, metrics="psnr, copies"))
    return path


def jobs_of(suite: Path, store: ResultStore) -> list[Job]:
    """The missing runs of ``suite``, each after the one that it builds on."""
    return missing_jobs([loading.load(suite, [])], store, False, print)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a suite with a prior, and of its results on this machine; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    alone("run", with_prior(folder, "vq"), "--store", folder / "runs", "--test-images", "100")
    return folder


# What travels ---------------------------------------------------------------------------------------------------------


def test_weights_travel_once_and_by_digest(tmp_path: Path) -> None:
    """Two priors on one row share its weights in the cluster; they are dropped with the last run that needs them."""
    store = ResultStore(tmp_path / "runs")
    first, second = jobs_of(with_prior(tmp_path, "vq"), store)
    folder = store.folder(first.run)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("a record")
    (folder / "best.pt").write_bytes(b"weights")
    (folder / "last.pt").write_bytes(b"not needed")
    sent: list[bytes] = []
    weights = WeightsInCluster(store, lambda content: sent.append(content) or len(sent))
    assert weights.of(first) == (None, None)
    given, reference = weights.of(second)
    assert weights.of(second) == (given, reference)
    assert given.files == {"record.json": b"a record"}
    assert sent == [b"weights"]
    weights.release([second])
    assert weights.of(second)[1] == 1
    weights.release([first])
    assert weights.of(second)[1] == 2, "sent anew"
    weights.release([])
    (folder / "best.pt").unlink()
    with pytest.raises(StoreError, match="the checkpoint was removed"):
        weights.of(second)


def test_a_finished_swap_is_measured_without_its_parent(tmp_path: Path) -> None:
    """A swapped run that lacks a metric needs no weights but its own, as on one machine."""
    text = SUITE.format(rows="vq, vq_ema", second="parent: vq", metrics="psnr")
    train = "{swap: {epochs: 1, batch_size: 64}}"
    rows = "{vq: {}, train: {clean: {epochs: 1, batch_size: 64, learning_rate: 1e-3}}}, vq_ema"
    suite = tmp_path / "swaps.yaml"
    suite.write_text(text.replace("[vq, vq_ema]", f"[{rows}]").replace(text.split("train: ")[1].split("\n")[0], train))
    store = ResultStore(tmp_path / "runs")
    first, swap = jobs_of(suite, store)
    assert swap.first_stage == first.run
    for job in (first, swap):
        store.folder(job.run).mkdir(parents=True)
        (store.folder(job.run) / "record.json").write_text("a record")
    weights = WeightsInCluster(store, lambda content: content)
    given, reference = weights.of(swap)
    assert (given.digest, reference) == (None, None)
    (store.folder(swap.run) / "record.json").unlink()
    with pytest.raises(StoreError, match="the checkpoint was removed"):
        weights.of(swap)


def test_samples_travel_as_they_are_made(tmp_path: Path) -> None:
    """Pieces of samples are sent like checkpoints, cached latents never; the joined file takes the place of pieces."""
    node, driver = tmp_path / "node", tmp_path / "driver"
    parts = node / "samples-6.parts"
    parts.mkdir(parents=True)
    (node / "samples.sha256").write_text("of these weights")
    (node / "encoded-12345678.bin").write_text("latents")
    seen: dict[str, tuple[int, int]] = {}
    assert not has_progress(node, seen), "there is nothing to resume from"
    (parts / "000000.npy").write_text("a piece")
    (parts / "whole").write_text("half of the joined file")
    assert has_progress(node, seen)
    files = pack(node, seen)
    assert files.keys() == {"samples.sha256", "samples-6.parts/000000.npy"}
    assert not has_progress(node, seen)
    unpack(driver, files)
    assert pack(driver, only=("last.pt", "samples*")) == files, "what another node resumes from"
    unpack(driver, {"samples-6.npy": b"all"})
    assert pack(driver) == {"samples.sha256": b"of these weights", "samples-6.npy": b"all"}


def test_samples_of_other_weights_do_not_mix(tmp_path: Path) -> None:
    """Pieces that are kept of other weights are deleted when samples of new ones arrive, and only then."""
    unpack(tmp_path, {"samples.sha256": b"old", "samples-6.parts/000000.npy": b"0", "samples-6.parts/000001.npy": b"1"})
    unpack(tmp_path, {"samples.sha256": b"old", "samples-6.parts/000002.npy": b"2"})
    assert len(pack(tmp_path)) == 4
    unpack(tmp_path, {"samples.sha256": b"new", "samples-6.parts/000000.npy": b"3"})
    assert pack(tmp_path) == {"samples.sha256": b"new", "samples-6.parts/000000.npy": b"3"}


def test_a_folder_that_vanishes_while_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that are joined, and deleted, at that moment do not end the run: they are left out."""
    parts = tmp_path / "samples-6.parts"
    parts.mkdir()
    (parts / "000000.npy").write_text("a piece")
    (tmp_path / "samples-6.npy").write_text("all")
    scan = os.scandir

    def vanishing(path: Any) -> Any:
        if path in (parts, str(parts)) and parts.exists():
            shutil.rmtree(parts)
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert pack(tmp_path) == {"samples-6.npy": b"all"}


def test_only_folders_of_dead_processes_of_this_host_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts may share the place of temporary folders: those of another one, and of live processes, stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(socket, "gethostname", lambda: "a")
    dead = 10**30  # no process has this number
    names = [f"vqbench-run-{dead}-a-x", f"vqbench-run-{dead}-a-1-x", f"vqbench-run-{dead}-b-x"]
    for name in [*names, f"vqbench-run-{os.getpid()}-a-y"]:
        (tmp_path / name).mkdir()
    with _temporary_folder() as home:
        assert sorted(tmp_path.iterdir()) == sorted(
            [*(tmp_path / name for name in names[1:]), tmp_path / f"vqbench-run-{os.getpid()}-a-y", home]
        )
    assert not home.exists()


# What is left out, and in which order ---------------------------------------------------------------------------------


def chain(folder: Path) -> tuple[ResultStore, Job, Job, Job]:
    """A run, another put into it, and a prior on that."""
    text = SUITE.format(
        rows="vq", second=f"parent: vq\ngenerate: {{autoregressive: {PRIOR}}}\n{SAMPLES}", metrics="psnr, copies"
    )
    rows = "{vq: {}, train: {clean: {epochs: 1, batch_size: 64, learning_rate: 1e-3}}}, vq_ema"
    train = text.split("train: ")[1].split("\n")[0]
    suite = folder / "chain.yaml"
    suite.write_text(text.replace("[vq]", f"[{rows}]").replace(train, "{swap: {epochs: 1, batch_size: 64}}"))
    store = ResultStore(folder / "runs")
    jobs = {job.run.key: job for job in jobs_of(suite, store)}
    (last,) = (job for job in jobs.values() if job.first_stage and job.first_stage.parent)
    middle = jobs[last.run.parent or ""]
    return store, jobs[middle.run.parent or ""], middle, last


def test_runs_are_in_the_order_of_what_they_build_on(tmp_path: Path) -> None:
    """The cheapest is first, but a run never comes before one that it builds on, however far."""
    store, first, middle, last = chain(tmp_path)
    seconds = {first.run.key: 9.0, middle.run.key: 5.0, last.run.key: 1.0}
    assert cheapest_first(store, [last, middle, first], seconds) == [first, middle, last]


def test_a_failed_training_holds_up_all_that_build_on_it(tmp_path: Path) -> None:
    """All runs above a training that failed are left out; of a trained run that lacks a value, none but itself."""
    store, first, middle, last = chain(tmp_path)
    jobs = [first, middle, last]
    store.fail(first.run, Failure("it broke", []))
    assert _failed_earlier(jobs, store) == jobs
    (store.folder(first.run) / "record.json").write_text("a record")
    assert _failed_earlier(jobs, store) == [first]


# On a node, without a cluster -----------------------------------------------------------------------------------------


def on_a_node(job: Job, given: Any, weights: bytes | None, store: Path) -> RemoteResult:
    """Carry out ``job`` as on a node, and write its files into ``store`` as the driver does."""
    folder = ResultStore(store).folder(job.run)
    version = package.__version__
    remote_job = RemoteJob(job, RunSettings("cpu"), {}, (), (), 1, None, {}, version, given)

    def post(messages: list[object], files: dict[str, bytes]) -> bool:
        unpack(folder, files)
        return False

    returned = run_remote_job(remote_job, post, weights)
    unpack(folder, returned.files)
    return returned


def test_a_second_stage_on_a_node_without_the_results_folder(whole: Path, tmp_path: Path) -> None:
    """From weights that were sent, a prior has the bits of one machine; damaged weights fail that run alone."""
    plan = loading.load(whole / "staged.yaml", [], test_images=100)
    first, second = missing_jobs([plan], ResultStore(tmp_path / "nothing"), False, print)
    given, weights = WeightsInCluster(ResultStore(whole / "runs"), lambda content: content).of(second)
    damaged = weights[:-1] + bytes([weights[-1] ^ 1])
    refused = on_a_node(second, given, damaged, tmp_path / "refused")
    assert refused.result.status == "machine_fault"
    assert f"the weights of its first stage, {first.run.key}, arrived damaged" in refused.result.reason
    assert on_a_node(second, given, weights, tmp_path / "runs").result == RunResult("done")
    (folder,) = (tmp_path / "runs").iterdir()
    ours, theirs = (torch.load(each / folder.name / "best.pt") for each in (tmp_path / "runs", whole / "runs"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert values(tmp_path / "runs") == {folder.name: values(whole / "runs")[folder.name]}
    assert list(folder.glob("samples-*.npy")), "samples come back, for further metrics"


# The order of Ray's driver, without Ray -------------------------------------------------------------------------------


class _Driver(RayExecutor):
    """A driver whose tasks are noted, in place of a cluster."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, RunSettings("cpu"), ExecutorOptions("ray"), (), SilentListener(), Stop())
        self.submitted: list[str] = []
        self._task = SimpleNamespace(remote=lambda remote_job, *_: self.submitted.append(remote_job.job.run.key))
        self._mailbox, self._weights = None, WeightsInCluster(self.store, lambda content: content)

    def _count_capacity(self) -> int:
        return 10

    def end(self, job: Job, result: RunResult) -> None:
        self._finish(self._active[job.run.key], result)
        self._assign_jobs()


def test_a_second_stage_is_submitted_after_its_first(tmp_path: Path) -> None:
    """With capacity for all, only first stages are submitted; a second follows its own first, not the others."""
    driver = _Driver(tmp_path / "runs")
    firsts_and_seconds = jobs_of(with_prior(tmp_path, "vq, vq_ema"), driver.store)
    vq, ema, on_vq, on_ema = firsts_and_seconds
    driver._queue.extend([on_vq, on_ema, vq, ema])
    driver._assign_jobs()
    assert driver.submitted == [vq.run.key, ema.run.key]
    folder = driver.store.folder(ema.run)
    (folder / "record.json").write_text("a record")
    (folder / "best.pt").write_text("weights")
    driver.end(ema, RunResult("done"))
    assert driver.submitted == [vq.run.key, ema.run.key, on_ema.run.key]
    driver.store.fail(vq.run, Failure("it broke", []))
    driver.end(vq, RunResult("failed", "it broke"))
    assert driver.submitted[3:] == [], "a second stage without its first is not submitted"
    here = Runner(driver.store.root, RunSettings("cpu"), SilentListener(), lambda: False)
    assert driver.summary.failed == [f"{vq}: it broke", f"{on_vq}: {here.attempt(on_vq).reason}"]
    assert driver.summary.failed[1].endswith(f"its first stage, {vq.run.key}, failed: it broke")
    driver._shut_down(graceful=True)


def test_devices_of_a_run_are_reserved_together(tmp_path: Path) -> None:
    """A run on several devices reserves a core for each, and divides those that the user has set."""
    settings, listener = RunSettings("cpu", devices=4), SilentListener()
    for cpus, reserved, threads in ((None, 4, 1), (8, 8, 2), (2, 2, 1)):
        executor = RayExecutor(tmp_path, settings, ExecutorOptions("ray", cpus=cpus), (), listener, Stop())
        jobs: list[RemoteJob] = []
        executor._task = SimpleNamespace(remote=lambda remote_job, *_, jobs=jobs: jobs.append(remote_job))
        executor._mailbox, executor._weights = None, WeightsInCluster(executor.store, lambda content: content)
        (job,) = jobs_of(write(tmp_path, "vq"), executor.store)
        executor._submit(ActiveJob(job, None))  # type: ignore[arg-type]
        assert (executor.cpus, jobs[0].threads, jobs[0].settings.devices) == (reserved, threads, 4)


# Ray ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@ray_is_there
def test_a_node_killed_among_second_stages_costs_no_run(cluster: Any, tmp_path: Path) -> None:
    """A node killed while it trains a prior: the prior resumes elsewhere, with the bits of one machine."""
    prior = tmp_path / "slow_prior.py"
    prior.write_text(SLOW_PRIOR.format(folder=tmp_path))
    suite = with_prior(tmp_path, "vq, {vq: {beta: 0.5}, label: other}", "slow_prior")
    line = ("run", suite, "--plugin", prior, "--test-images", "100", "--store")
    (tmp_path / "slow").touch()
    victim = cluster.add_node(**cluster.place)
    cluster.wait_for_nodes()
    store = tmp_path / "ray"
    words = (*line, store, "--executor", "ray", "--address", cluster.address)
    with running(*words, VQBENCH_CHECKPOINT_EVERY="0") as work:
        wait_for(lambda: len(list(store.glob("*-slow_prior-*/last.pt"))) == 2, work)  # one on each node
        assert len(list(store.glob("*/record.json"))) == 2, "those of the first stages"
        cluster.remove_node(victim, allow_graceful=False)
        (tmp_path / "slow").unlink()
        assert work.stderr is not None
        output = work.stderr.read()
        assert work.wait() == 0, output
    assert output.count("it resumes elsewhere from its last checkpoint") == 1, output
    counts = list(passes(tmp_path).values())
    assert len(counts) == 3, "two priors, one of them in two processes"
    assert 2 * STEPS <= sum(counts) < 3 * STEPS, "the second process did not begin anew"
    assert counts[2] < STEPS
    alone(*line, tmp_path / "local")
    assert_same(store, tmp_path / "local")
    assert values(store) == values(tmp_path / "local")


@pytest.mark.slow
@ray_is_there
def test_several_devices_of_a_node_share_a_run(cluster: Any, tmp_path: Path) -> None:
    """`--executor ray --devices 2` takes two cores of one node, and has the bits of `--devices 2` here."""
    cluster.add_node(**{**cluster.place, "num_cpus": 2})
    cluster.wait_for_nodes()
    suite = write(tmp_path, "vq")
    line = ("run", suite, "--devices", "2", "--subset", "1100", "--test-images", "100", "--store")
    elsewhere = ("--executor", "ray", "--address", cluster.address)
    for words in ((*line, tmp_path / "ray", *elsewhere), (*line, tmp_path / "local")):
        done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "ray", tmp_path / "local")
    assert values(tmp_path / "ray") == values(tmp_path / "local")
    record = json.loads(next((tmp_path / "ray").glob("*/record.json")).read_text())
    assert record["made"]["devices"] == 2


# Slurm ----------------------------------------------------------------------------------------------------------------


def test_slurm_gets_an_array_per_stage(tmp_path: Path) -> None:
    """Runs are divided by what they build on; each array waits for the one before, and for what the user asks."""
    jobs = jobs_of(with_prior(tmp_path, "vq, vq_ema"), ResultStore(tmp_path / "runs"))
    vq, ema, on_vq, on_ema = jobs
    assert by_stage([on_vq, vq, on_ema, ema]) == [[vq, ema], [on_vq, on_ema]]
    assert by_stage([on_vq, ema]) == [[on_vq, ema]], "the first of one is done, the other has none"
    given = {"additional_parameters": {"requeue": True, "dependency": "afterok:3"}}
    assert after(given, "7")["additional_parameters"]["dependency"] == "afterok:3,afterany:7"
    assert after(given, None) == given


def test_what_another_array_has_finished_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that ends without a new record counts by what the store has, not by who wrote it."""
    (job, _) = jobs_of(with_prior(tmp_path, "vq"), ResultStore(tmp_path / "runs"))
    executor = SlurmExecutor(tmp_path / "runs", RunSettings("cpu"), (), SilentListener(), Stop())
    task: Any = SimpleNamespace(job_id="7_0", paths=SimpleNamespace(stderr="err"))
    assert executor._result_of_ended(job, task).reason == "its Slurm task 7_0 ended without it; see err"
    monkeypatch.setattr(executor.store, "missing", lambda run, wanted: {})
    assert executor._result_of_ended(job, task) == RunResult("already_done")


@pytest.mark.slow
def test_second_stages_on_slurm(slurm: Path, whole: Path, tmp_path: Path) -> None:
    """Slurm starts second stages after their firsts, with local results; a failed first fails its second."""
    file = noting_plugin(tmp_path, "bad", 'print("alas", flush=True); os._exit(7)')
    file.write_text(file.read_text().replace("self.count > 20", "self.count > 5"))
    suite, store = with_prior(tmp_path, "bad, vq"), tmp_path / "runs"
    words = ("--plugin", file, "--test-images", "100", "--store", store, "--executor", "slurm")
    done = subprocess.run(command("run", suite, *words), capture_output=True, text=True, check=False)
    log = done.stderr + (slurm / "log").read_text()
    assert done.returncode == 1, log
    assert "2 runs in 2 tasks: Slurm job 7\n" in done.stderr
    assert "2 runs in 2 tasks: Slurm job 8, after job 7\n" in done.stderr
    assert "#SBATCH --dependency=afterany:7\n" in (slurm / "script_8").read_text()
    registry.add_file(file)
    bad = loading.load(suite, [], test_images=100).runs()[0]
    reason = ResultStore(store).failure(bad)
    assert reason is not None
    assert f"FAILED: its first stage, {bad.key}, failed: {reason.reason}" in done.stderr, log
    assert_same(store, whole / "runs")
    assert values(store) == values(whole / "runs")
