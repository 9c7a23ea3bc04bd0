"""`vqbench diff`: changes between two states of the results."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_suite import vqbench
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


def test_results_equal_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    """Between a folder and itself nothing changed."""
    assert vqbench("diff", RESULTS, RESULTS) == 0
    assert "0 changed beyond noise; 0 kinds of run new, 0 gone" in capsys.readouterr().out


def changed_store(folder: Path, shift: dict[int, float]) -> ResultStore:
    """Runs of vq whose l1 of each image is moved by ``shift``, which maps seeds to amounts."""
    store = ResultStore(folder)
    hard = np.random.default_rng(3).uniform(0.1, 0.2, 200)
    parts = [PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "few", "vq")]
    for seed, amount in shift.items():
        run = RunSpec(*parts, seed=seed)
        each = hard + 0.001 * seed + amount
        store.write_images(run, {"clean/l1": each})
        value = Value(float(each.mean()), 1, 1, len(each))
        store.write(Record(run, {"clean": {"l1": value}}, {"seconds": 1.0, "date": "2026-01-31"}))
    return store


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        ({1: 0.0, 2: 0.0}, "equal"),
        ({1: 0.05, 2: 0.0501, 3: 0.0499}, "changed"),
        ({1: 0.05, 2: -0.05, 3: 0.02}, "within noise"),
        ({1: 0.05}, "one seed: no claim about training"),
    ],
)
def test_a_change_is_distinguished_from_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: dict[int, float], verdict: str
) -> None:
    """A difference shared by all seeds is a change, scatter between seeds is noise, and one seed allows no claim."""
    changed_store(tmp_path / "a", dict.fromkeys(shift, 0.0))
    changed_store(tmp_path / "b", shift)
    assert vqbench("diff", tmp_path / "a", tmp_path / "b", "--json") == 0
    [change] = json.loads(capsys.readouterr().out)["changes"]
    assert verdict in change["verdict"]
    assert change["seeds"] == list(shift)


def test_new_and_gone_runs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that only one of the two states has are named, not compared."""
    changed_store(tmp_path / "a", {1: 0.0})
    (tmp_path / "b").mkdir()
    assert vqbench("diff", tmp_path / "a", tmp_path / "b") == 0
    assert "gone: few: vq\n" in capsys.readouterr().out


def test_second_stages_on_other_first_stages_are_other_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prior on a longer training is new, and is not compared with the one on a short training, which stays equal."""
    few, conv, vq = (PluginSpec(name, 1, {}) for name in ("few", "conv", "vq"))
    firsts = [RunSpec(PluginSpec("autoencoder", 1, {"epochs": n}), conv, few, vq, seed=1) for n in (1, 100)]
    priors = [RunSpec(PluginSpec("autoregressive", 1, {}), conv, few, vq, 1, run.key) for run in firsts]
    values = dict(zip([run.key for run in [*firsts, *priors]], (0.0, 0.0, 90.0, 10.0), strict=True))
    for name, runs in (("a", [firsts[0], priors[0]]), ("b", [*firsts, *priors])):
        for run in runs:
            made = {"seconds": 1.0, "date": "2026-01-31"}
            ResultStore(tmp_path / name).write(Record(run, {"clean": {"l1": Value(values[run.key], 1, 1, 9)}}, made))
    assert vqbench("diff", tmp_path / "a", tmp_path / "b", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [change["verdict"] for change in found["changes"]] == ["equal", "equal"]
    assert len({*found["new"]}) == 2, found["new"]


def test_the_seeds_beside_an_interval_are_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the same machines trained some seeds, mean, seeds and interval are of these."""
    changed_store(tmp_path / "a", {1: 0.0, 2: 0.0})
    elsewhere = changed_store(tmp_path / "b", {1: 0.01, 2: 0.5})
    for record in [*elsewhere.records()]:
        if record.run.seed == 2:
            record.made["device"] = "another"
            elsewhere.write(record)
    assert vqbench("diff", tmp_path / "a", tmp_path / "b", "--json") == 0
    [change] = json.loads(capsys.readouterr().out)["changes"]
    assert change["seeds"] == [1]
    assert change["low"] - 1e-6 <= change["after"] - change["before"] <= change["high"] + 1e-6  # kept in float32


def test_values_that_are_no_numbers_are_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NaN in both states is no change; of one alone, it has no place in the table of machines."""
    for name, device in (("a", "cpu"), ("b", "another")):
        stored = changed_store(tmp_path / name, {1: 0.0})
        for record in [*stored.records()]:
            record.made["device"] = device
            record.values["clean"] |= {
                "psnr": Value(math.nan, 1, 1, 9),
                "ssim": Value(math.nan if name == "a" else 1.0, 1, 1, 9),
            }
            stored.write(record)
    assert vqbench("diff", tmp_path / "a", tmp_path / "b", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    verdicts = {change["metric"]: change["verdict"] for change in found["changes"]}
    assert (verdicts["psnr"], verdicts["l1"]) == ("equal", "equal")
    assert verdicts["ssim"].startswith("differs")
    assert [each["metric"] for each in found["machines"]] == ["l1"]


def test_a_commit_that_cannot_be_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of a commit that hold an absolute link are refused in one sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "link").symlink_to("/etc/hostname")
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "results"), ("commit", "-qm", "a link")):
        subprocess.run(["git", *author, *words], check=True)
    assert vqbench("diff", "HEAD", "results", "--results", "results") == 2
    assert "cannot be unpacked" in capsys.readouterr().err


def test_commits_and_dates_name_the_past(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit, or a day by its last commit, names the results folder of that time; anything else is refused."""

    def git(*words: str) -> None:
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        day = {"GIT_COMMITTER_DATE": "2026-01-31T12:00:00Z"}
        subprocess.run(["git", *author, *words], cwd=tmp_path, check=True, capture_output=True, env=os.environ | day)

    monkeypatch.chdir(tmp_path)
    changed_store(tmp_path / "results", {1: 0.0, 2: 0.0, 3: 0.0})
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        git(*words)
    changed_store(tmp_path / "results", {1: 0.05, 2: 0.0501, 3: 0.0499})
    for past in ("HEAD", "2026-01-31"):
        assert vqbench("diff", past, "results") == 0
        assert "1 changed beyond noise" in capsys.readouterr().out
    for wrong, message in (("2020-01-01", "no commit of that day"), ("nonsense", "neither a folder, nor a commit")):
        assert vqbench("diff", wrong, "results") == 2
        assert message in capsys.readouterr().err


def test_other_machines_are_no_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values of equal runs on two machines get no verdict; how far they differ is summed up, and shown from a file."""
    for folder, machine, values in (("a", "one", (1.0, 2.0)), ("b", "other", (1.5, 2.25))):
        store = ResultStore(tmp_path / folder)
        for codes, value in zip((8, 16), values, strict=True):
            parts = [PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "few")]
            run = RunSpec(*parts, PluginSpec("vq", 1, {"beta": 0.25, "num_codes": codes}), seed=1)
            made = {"seconds": 1.0, "date": "2026-01-31", "device": machine}
            store.write(Record(run, {"clean": {"psnr": Value(value, 1, 1, 200)}}, made))
    assert vqbench("diff", tmp_path / "a", tmp_path / "b", "--json") == 0
    printed = capsys.readouterr().out
    [spread] = json.loads(printed)["machines"]
    assert (spread["runs"], spread["mean"], spread["median"], spread["largest"]) == (2, 1.6875, 0.375, 0.5)
    assert spread["largest_of"] == "few: vq(num_codes=8)"
    (tmp_path / "kept.json").write_text(printed)
    assert vqbench("diff", "--show", tmp_path / "kept.json") == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")][:5] == ["psnr", "2", "1.69", "0.375", "0.5"]
    (tmp_path / "kept.json").write_text("[]")
    assert vqbench("diff", "--show", tmp_path / "kept.json") == 2
    assert "not what `vqbench diff --json` prints" in capsys.readouterr().err
    assert vqbench("diff", tmp_path) == 2
    assert "give two states to compare" in capsys.readouterr().err
