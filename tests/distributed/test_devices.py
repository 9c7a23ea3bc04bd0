"""Runs on several devices: real ranks have the results of one process, and a crash leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import ranks
from tests.support.processes import PATIENCE, alive, children, plugin
from tests.support.tiny_suite import command, weights, write
from vqbench import assets, registry
from vqbench.distributed import collectives
from vqbench.distributed.group import RankGroup
from vqbench.errors import UsageError
from vqbench.evaluation import reconstructions
from vqbench.execution import rank_pool, runner
from vqbench.execution.messages import RunSettings
from vqbench.execution.rank_worker import RankWorker

pytestmark = pytest.mark.integration

SOUND = [name for name in ranks.CASES if name != "diverging"]
MORE = ["cvq and measured", "residual and measured", "cvq and stopped", "diverging"]


def assert_equal(ours: Mapping[str, Any], one: Mapping[str, Any]) -> None:
    """Compare codebook, statistics, weights, loss, selection and values with those of one process."""
    for name, value in one["state"].items():
        close = torch.allclose(ours["state"][name].double(), value.double(), rtol=1e-4, atol=1e-6)
        assert close, f"{name}: {(ours['state'][name] - value).abs().max()}"
    for epoch, wanted in zip(ours["history"], one["history"], strict=True):
        assert epoch == pytest.approx(wanted, rel=1e-6)
    assert_values_equal(ours, one)


def assert_values_equal(ours: Mapping[str, Any], one: Mapping[str, Any]) -> None:
    for protocol, metrics in one["values"].items():
        for metric, (number, images) in metrics.items():
            assert ours["values"][protocol][metric][1] == images == int(protocol.partition("@")[2] or 250)
            measured = ours["values"][protocol][metric][0]
            assert measured == (None if number is None else pytest.approx(number, rel=1e-5)), f"{protocol}, {metric}"
    assert ours["images"].keys() == one["images"].keys()
    for name, values in one["images"].items():
        torch.testing.assert_close(ours["images"][name], values, rtol=1e-4, atol=1e-5)


def compare(all_ranks: list[Mapping[str, Any]], one: Mapping[str, Any]) -> None:
    """All ranks have the same results, bit by bit, and they are those of one process."""
    for name in one:
        ours = all_ranks[0][name]
        for rank in all_ranks[1:]:
            differing = [
                key for key, value in ours["state"].items() if not torch.equal(value, rank[name]["state"][key])
            ]
            assert not differing, f"{name}: ranks diverged in {differing}"
        try:
            assert_equal(ours, one[name])
        except AssertionError as error:
            raise AssertionError(f"{name} on {len(all_ranks)} ranks: {error}") from error


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Mapping[str, Any]]:
    """The results of all cases on each of two ranks."""
    return ranks.together(2, [*SOUND, *MORE], tmp_path_factory.mktemp("two"))


def test_two_ranks_are_one_process(two: list[Mapping[str, Any]], tmp_path: Path) -> None:
    """Every built-in quantizer for several devices, trained on two ranks with unequal parts, has the results of one.

    Both ranks have them bit for bit. (In float64: in float32, k-means and anchors amplify what the order of addition
    decides between features that are almost equally near.)
    """
    compare(two, ranks.alone(SOUND, tmp_path))


def test_ranks_measure_what_one_process_does(two: list[Mapping[str, Any]], tmp_path: Path) -> None:
    """Two ranks share a split without padding: every image counts once, under all protocols.

    They have the values of one process and, in the order of the split, those of each image.
    """
    one = ranks.alone(MORE[:2], tmp_path)
    assert len(one[MORE[0]]["images"]) == 7
    compare(two, one)


def test_ranks_resume_exactly(two: list[Mapping[str, Any]]) -> None:
    """Stopped by rank 0 mid-epoch and resumed from its checkpoint, two ranks end bit for bit as without a stop."""
    for rank in two:
        stopped, whole = rank["cvq and stopped"], rank["cvq"]
        assert stopped["history"] == whole["history"]
        for name, value in whole["state"].items():
            assert torch.equal(stopped["state"][name], value), name


def test_ranks_that_diverge_fail_the_run(two: list[Mapping[str, Any]]) -> None:
    """A codebook that every rank updates in its own way fails the run on all ranks; quantizer and tensors are named."""
    for rank in two:
        error = rank["diverging"]["error"]
        assert "ranks diverged: quantizer.codebook, quantizer.average_sums of Diverging differ" in error


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4])
def test_more_ranks_are_one_process(size: int, tmp_path: Path) -> None:
    """The same on three and four ranks, of which the latter share a last batch of three images."""
    names = [*SOUND, *MORE[:2]]
    compare(ranks.together(size, names, tmp_path), ranks.alone(names, tmp_path))


def test_four_ranks_share_a_batch_of_three(tmp_path: Path) -> None:
    """Four ranks, more than the images of the last batch, have the results of one process with two quantizers.

    One rank evaluates no image.
    """
    names = ["cvq and measured", "vq_ema_restart"]
    compare(ranks.together(4, names, tmp_path), ranks.alone(names, tmp_path))


@pytest.mark.slow
def test_networks_evaluate_ranks_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS and rFID, under both protocols, are on two ranks what they are on one."""
    for name in ("inception_fid", "vgg16_lpips", "alexnet_lpips"):
        assets.fetch(name)
    monkeypatch.setattr(reconstructions, "BATCH", reconstructions.BATCH)  # which the case changes here, too
    names = ["vq and judged"]
    (ours, _), one = ranks.together(2, names, tmp_path), ranks.alone(names, tmp_path)
    assert set(one["vq and judged"]["values"]) == {"clean@24", "official@24"}
    assert_values_equal(ours["vq and judged"], one["vq and judged"])


# Devices of one machine and of several --------------------------------------------------------------------------------


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(("gpus", "local", "size", "refused"), [(4, 4, 8, False), (1, 1, 2, False), (3, 4, 8, True)])
def test_a_machine_needs_gpus_for_its_own_ranks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: int, local: int, size: int, refused: bool
) -> None:
    """Of torchrun's ranks on several machines, those of one are compared with its GPUs, not all of them."""
    pretend_gpus(monkeypatch, gpus)
    names = {"RANK": 0, "WORLD_SIZE": size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": local, "MASTER_PORT": 1}
    for name, value in {**names, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(rank_pool, "RankPool", lambda *_: SimpleNamespace(group=RankGroup(0, size, 0, local)))
    started = runner.Runner(tmp_path, RunSettings("auto", size), runner.SilentListener(), lambda: False)
    if refused:
        with pytest.raises(UsageError, match=r"4 devices .* this machine has 3 usable GPUs"):
            started._start_ranks()
    else:
        assert started._start_ranks().group.local_size == local


class FourRanks(RankGroup):
    """The first of four ranks, two a machine, as far as it gathers what the others have."""

    def gather(self, value: Any) -> list[Any]:
        return [value, value, *(["cpu", "cpu"] if isinstance(value, str) else [value, value])]


def test_machines_with_and_without_gpus_do_not_train_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `auto` is a GPU for some ranks and the CPU for others, all refuse the run instead of waiting forever."""
    pretend_gpus(monkeypatch, 2)
    rank = RankWorker(RunSettings("auto"), runner.SilentListener(), lambda: False, FourRanks(0, 4, 0, 2))
    with pytest.raises(UsageError, match="ranks have different devices \\(cpu and cuda\\); set --device cpu or cuda"):
        rank._require_devices()
    RankWorker(RunSettings("cpu"), runner.SilentListener(), lambda: False, FourRanks(0, 4, 0, 2))._require_devices()


@pytest.mark.slow
def test_torchrun_on_two_machines(one_device: Path, tmp_path: Path) -> None:
    """Two launchers, as on two machines with one rank each, share a run and have the results of one device."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    suite = write(tmp_path, "vq, vq_ema")
    machines = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(number)),
                *("--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "vqbench"),
                *("run", str(suite), "--store", str(tmp_path / "runs"), "-q", *REDUCED),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in (0, 1)
    ]
    printed = [machine.communicate(timeout=PATIENCE)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    assert_same_runs(one_device, tmp_path / "runs")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 99, 1000])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_parts_are_all_and_nothing_twice(count: int, size: int) -> None:
    """The ranks' parts of a batch, and of a split, are all of it in order; no part is more than one image larger."""
    parts = [list(range(count))[collectives.rank_slice(count, rank, size)] for rank in range(size)]
    assert [image for part in parts for image in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == [list(RankGroup(rank, size).own_items(range(count))) for rank in range(size)]
    assert count < size or all(parts)


def test_only_the_wrapper_is_not_distributed() -> None:
    """Of the built-in methods only the wrapper of another package, which exchanges by itself, needs one device."""
    every = registry.names("quantizers")
    assert [name for name in every if not registry.load("quantizers", name).distributed] == ["lucidrains"]


# The command ----------------------------------------------------------------------------------------------------------

REDUCED = ("--subset", "1660", "--test-images", "250")  # 160 images to train on: batches of 64, 64 and 32


def records(store: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in store.glob("*/record.json")}


def assert_same_runs(first: Path, second: Path) -> None:
    """Compare keys, weights and values of two stores, up to rounding."""
    one, other = records(first), records(second)
    assert one.keys() == other.keys() != set()
    for run, state in weights(first).items():
        for name, value in weights(second)[run].items():
            torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4, msg=f"{run}: {name}")
    for run, record in one.items():
        for metric, value in record["values"]["clean@250"].items():
            assert other[run]["values"]["clean@250"][metric]["value"] == pytest.approx(value["value"], rel=1e-3)
            assert other[run]["values"]["clean@250"][metric]["images"] == value["images"] == 250


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of "vq, vq_ema" on one device. Tests must not change them."""
    folder = tmp_path_factory.mktemp("one")
    words = command("run", write(folder, "vq, vq_ema"), "--store", folder / "runs", "-q", *REDUCED)
    subprocess.run(words, check=True, capture_output=True)
    return folder / "runs"


UNFIT = '''
from vqbench.quantizers.vq import VQ


class Unfit(VQ):
    """VQ that says it is not for several devices."""

    paper = "none"
    distributed = False
'''


def test_devices_share_a_run(one_device: Path, tmp_path: Path) -> None:
    """`run --devices 2` has the keys, weights and values of one device, and its records name two.

    A quantizer with distributed = False is refused in one sentence without a recorded failure, and other runs follow.
    """
    (tmp_path / "unfit.py").write_text(UNFIT)
    suite, store = write(tmp_path, "unfit, vq, vq_ema"), tmp_path / "runs"
    words = ("run", suite, "--store", store, "--plugin", tmp_path / "unfit.py", "--devices", "2", *REDUCED)
    done = subprocess.run(command(*words), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("unfit does not support several devices (distributed = False)") == 1
    assert not list(store.glob("*/failed.json"))
    assert_same_runs(one_device, store)
    for record in records(store).values():
        assert record["made"]["devices"] == record["made"]["measured"][0]["devices"] == 2
    for record in records(one_device).values():
        assert record["made"]["devices"] == 1
    for run in records(store):
        images = [np.load(folder / run / "per_image.npz") for folder in (one_device, store)]
        for name in images[0].files:
            np.testing.assert_allclose(images[0][name], images[1][name], rtol=1e-3)


def torchrun(*words: object) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vqbench"]
    return [*launcher, *map(str, words)]


def test_torchrun_shares_a_run(one_device: Path, tmp_path: Path) -> None:
    """torchrun gives the same results, and its ranks end, also where no run is left to do."""
    for store in (tmp_path / "runs", one_device):
        words = torchrun("run", write(tmp_path, "vq, vq_ema"), "--store", store, "-q", *REDUCED)
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("PSNR") == 1, "one rank prints"
    assert_same_runs(one_device, tmp_path / "runs")


RANK_1 = (
    "import torch.distributed as d; mark = Path({mark!r}); "
    "d.is_initialized() and d.get_rank() == 1 and not mark.exists() and (mark.touch(), {do})"
)


@pytest.mark.parametrize(
    ("rows", "do", "reason"),
    [
        pytest.param("odd, vq", "bytearray(2**62)", "rank 1: out of memory", marks=pytest.mark.slow),
        ("odd", "os.kill(os.getpid(), signal.SIGKILL)", "rank 1 was ended by signal 9 (out of memory?)"),
    ],
    ids=["memory", "kill"],
)
def test_a_rank_that_fails_is_named(tmp_path: Path, rows: str, do: str, reason: str) -> None:
    """A rank that runs out of memory fails its run alone, with the rank and the reason; --retry-failed resumes it.

    A run whose rank is killed resumes by itself.
    """
    odd = RANK_1.format(mark=str(tmp_path / "mark"), do=do)
    suite, store = write(tmp_path, rows), tmp_path / "runs"
    words = [
        "run",
        suite,
        "--store",
        store,
        "--devices",
        "2",
        *REDUCED,
        "--plugin",
        plugin(tmp_path, "odd", odd, after=2),
    ]
    if "kill" in do:
        done = subprocess.run(command(*words), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"{reason}; it starts from the beginning, as it has no checkpoint yet" in done.stderr
        assert len(records(store)) == 1
        return
    for outcome in (1, 0):
        done = subprocess.run(command(*words, *["--retry-failed"][outcome:]), capture_output=True, text=True)
        assert done.returncode == outcome, done.stderr
        assert (reason in done.stderr) == bool(outcome)
        assert sorted(run.split("-")[1] for run in records(store)) == rows.split(", ")[outcome:]


def descendants(process: int) -> list[int]:
    found = children(process)
    return [*found, *(grandchild for child in found for grandchild in descendants(child))]


@pytest.mark.parametrize("victim", ["driver", pytest.param("leader", marks=pytest.mark.slow)])
def test_no_rank_outlives_rank_0(one_device: Path, tmp_path: Path, victim: str) -> None:
    """SIGKILL of the driver, or of rank 0, leaves no process behind and keeps the last checkpoint."""
    slow = plugin(tmp_path, "slow", "time.sleep(0.2)", after=0)
    suite, store = write(tmp_path, "slow", epochs=100), tmp_path / "runs"
    words = command("run", suite, "--store", store, "--devices", "2", *REDUCED, "--plugin", slow)
    work = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"VQBENCH_CHECKPOINT_EVERY": "0"}
    )
    try:
        until = time.monotonic() + PATIENCE
        while not list(store.glob("*/last.pt")):
            assert work.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        processes = descendants(work.pid)
        assert len(processes) >= 2
        os.kill(work.pid if victim == "driver" else processes[0], signal.SIGKILL)
        while any(map(alive, processes)):
            assert time.monotonic() < until, "they do not end"
            time.sleep(0.05)
        if victim == "leader":
            while not descendants(work.pid):  # it resumes
                assert work.poll() is None
                time.sleep(0.05)
            assert not list(store.glob("*/failed.json"))
    finally:
        work.kill()
        work.wait()
    assert list(store.glob("*/last.pt")), "what was done is kept"
