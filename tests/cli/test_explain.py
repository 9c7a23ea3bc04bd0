"""`vqbench explain`: the printed explanation of a stored run, and runs that cannot be explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import torch

from tests.evaluation.test_explain import IMAGES, METRICS, a_run, contents, explained, metric_class, run, store, stored
from tests.support.tiny_suite import vqbench
from vqbench import protocol
from vqbench.spec import RunSpec
from vqbench.store.results import ResultStore

__all__ = ["run", "store"]  # fixtures


def lines_of(block: str) -> Iterator[tuple[str, str, str]]:
    """Yield setting, value and change of each line of a printed chart, bars left out."""
    for line in block.splitlines()[1:]:
        title, value, *change = re.split(r"  +", line.split("█")[0].strip())
        yield title, value, change[0] if change else ""


def test_the_printed_changes_add_up_as_printed(
    store: ResultStore, run: RunSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed value under official plus the printed changes is the printed value under clean."""
    words = ("explain", run.key[:6], "--store", store.root, "--test-images", IMAGES)
    assert vqbench(*words, *(word for metric in METRICS for word in ("--metrics", metric))) == 0
    shown = capsys.readouterr()
    assert all(len(line) <= 80 for line in shown.out.splitlines() if "  " in line)
    title, *charts, alone, remarks = shown.out.split("\n\n")
    assert title == f"vq on fashion_mnist_5k, seed 42 ({run.key}), 40 test images"
    found = explained(store, run)
    for metric, chart in zip(("l1", "psnr", "ssim"), charts, strict=True):
        titles, values, changes = zip(*lines_of(chart), strict=True)
        assert (titles[0], titles[-1]) == ("official", "clean")
        assert Decimal(values[0]) + sum(map(Decimal, changes[1:-1])) == Decimal(values[-1])
        assert Decimal(values[0]) + Decimal(changes[-1]) == Decimal(values[-1])
        digits = metric_class(metric).digits + 1
        exact = [found[metric]["official"], *(step["value"] for step in found[metric]["steps"])]
        assert list(values) == [f"{value:.{digits}f}" for value in [*exact, found[metric]["clean"]]]
        place = ("l1", "psnr", "ssim").index(metric)
        cells = [re.split(r"  +", line.strip())[1 + place] for line in alone.splitlines()[3:]]
        steps = [step["value"] for step in found[metric]["alone"]]
        printed = [Decimal(values[0]) + Decimal(cell) for cell in cells if cell != "–"]
        assert printed == [Decimal(f"{value:.{digits}f}") for value in steps]
    assert "no setting moves it" in remarks


def test_a_run_is_called_by_key_prefix_or_folder(
    store: ResultStore, run: RunSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    """All three ways to name a run give the same JSON, with both protocols, settings and the reasons for them."""
    found = []
    for name in (run.key, run.key[:4], store.folder(run).name):
        words = ("explain", name, "--store", store.root, "--metrics", "l1", "--test-images", 2, "--json", "-q")
        assert vqbench(*words) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        found.append(json.loads(shown.out))
    assert found[0] == found[1] == found[2]
    assert found[0]["run"] == {"key": run.key, "quantizer": "vq", "dataset": "fashion_mnist_5k", "seed": 42}
    assert found[0]["images"] == 2
    first = found[0]["metrics"]["l1"]["steps"][0]
    assert (first["knob"], first["from"], first["to"], first["protocol"]) == ("jpeg", 75, None, "official+jpeg=none")
    assert first["reason"] == protocol.measuring("clean").knobs()["jpeg"].reason


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """Return the one sentence that a failed command prints."""
    assert vqbench("explain", *words, "--metrics", "l1", "--test-images", 2, "-q") == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "fault of vqbench" not in shown.err
    return shown.err


def test_an_unknown_or_ambiguous_run_is_one_sentence(
    store: ResultStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown or ambiguous run name gives exit code 2 and lists the existing runs."""
    assert "has no finished run 'abc'" in refused(capsys, 2, "abc", "--store", tmp_path / "none")
    runs = [stored(store, a_run(seed=seed)) for seed in range(17)]  # of 17 keys, two begin alike
    first = [run.key[0] for run in runs]
    shared = next(digit for digit in first if first.count(digit) > 1)
    said = refused(capsys, 2, shared, "--store", store.root)
    assert f"begins the keys of {first.count(shared)} runs" in said
    assert all(run.key in said for run in runs if run.key[0] == shared)
    for unknown in ("xyz", "", "vq", "*"):
        assert f"no finished run {unknown!r}" in refused(capsys, 2, unknown, "--store", store.root)
    (store.folder(runs[0]) / "record.json").unlink()
    assert "no finished run" in refused(capsys, 2, runs[0].key, "--store", store.root)


@pytest.mark.parametrize("harm", ["cleaned", "truncated", "emptied", "garbage", "another model's", "no weights"])
def test_a_checkpoint_that_cannot_serve_is_one_sentence(
    harm: str, store: ResultStore, run: RunSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    """A removed, damaged or foreign checkpoint is reported with what to do, and is not modified."""
    path = store.folder(run) / "best.pt"
    if harm == "cleaned":
        path.unlink()
    elif harm == "another model's":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif harm == "no weights":
        torch.save([1, 2], path)
    else:
        path.write_bytes({"truncated": path.read_bytes()[:999], "emptied": b"", "garbage": b"\x93NUMPY" * 99}[harm])
    before = contents(store.root)
    said = refused(capsys, 1, run.key, "--store", store.root)
    assert str(path) in said
    assert "train" in said
    assert contents(store.root) == before
