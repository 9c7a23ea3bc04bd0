"""Swap: a quantizer in a trained run, planned, trained, evaluated and loaded like any other run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import vqbench
from tests.support.tiny_suite import vqbench as command
from vqbench.backbone import Backbone
from vqbench.errors import RunError, UsageError
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.recipes.swap import frozen_encoder
from vqbench.store.results import ResultStore

SUITE = """
name: tiny_swap
train: {{swap: {{epochs: 1, batch_size: 64, learning_rate: 1e-3, subset: 1300}}}}
{parent}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {{conv: {{hidden: 16, residual_hidden: 8}}}}
codebook: {{num_codes: 64, dim: 16}}
quantizers:
  - {{identity: {{}}, label: base, train: {{clean: {{epochs: 1, batch_size: 64, learning_rate: 1e-3, subset: 1300}}}}}}
  - {{vq: {{}}, label: vq{row}}}
  - {{fsq: {{}}, label: fsq}}
metrics: [l1, usage, relative_error]
{more}
"""


def suite(folder: Path, parent: str = "parent: base", row: str = "", more: str = "") -> Path:
    path = folder / "tiny_swap.yaml"
    path.write_text(SUITE.format(parent=parent, row=row, more=more))
    return path


def planned(folder: Path, **parts: str) -> Plan:
    return loading.load(str(suite(folder, **parts)), [])


def test_a_run_is_named_by_its_parent(tmp_path: Path) -> None:
    """Each row on the parent has its key as part of its own; another parent, or none, makes other runs."""
    plan = planned(tmp_path)
    base, vq, fsq = (entry.run for entry in plan.entries)
    assert (base.parent, vq.parent, fsq.parent) == (None, base.key, base.key)
    assert [run.key for run in plan.runs()] == [base.key, vq.key, fsq.key]
    assert plan.first_of(vq) == base
    assert plan.label(vq) == "vq"
    assert "relative_error" in plan.wanted(vq)["clean"]
    longer = (tmp_path / "tiny_swap.yaml").read_text().replace("{clean: {epochs: 1", "{clean: {epochs: 2")
    (tmp_path / "tiny_swap.yaml").write_text(longer)
    assert loading.load(str(tmp_path / "tiny_swap.yaml"), []).entries[1].run.key != vq.key


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({"parent": ""}, "under the suite's key `parent`"),
        ({"parent": "parent: bse"}, "no row with a training of its own has the label 'bse'; did you mean 'base'?"),
        ({"parent": "parent: vq"}, "no row with a training of its own has the label 'vq'"),
        ({"row": ", codebook: {num_codes: 64, dim: 8}"}, "has dim 8, not 16, and builds on 'base'"),
        ({"row": ", backbone: {conv: {hidden: 8, residual_hidden: 8}}"}, "has another backbone, and builds on"),
    ],
)
def test_a_wrong_parent_is_an_error_of_the_file(parts: dict[str, str], error: str, tmp_path: Path) -> None:
    """A missing, unknown or unfitting parent is said with its place in the file."""
    with pytest.raises(UsageError, match=re.escape(error)) as caught:
        planned(tmp_path, **parts)
    assert "tiny_swap.yaml:" in str(caught.value)


def test_a_parent_that_nothing_builds_on_is_an_error(tmp_path: Path) -> None:
    """`parent` in a suite without swaps is refused, not ignored."""
    path = suite(tmp_path)
    path.write_text(path.read_text().replace("{swap:", "{clean:"))
    with pytest.raises(UsageError, match="no row builds on another one"):
        loading.load(str(path), [])


def test_choosing_rows_keeps_the_parent(tmp_path: Path) -> None:
    """`--only` of one row leaves it and the parent; `--skip` of the parent is an error of the suite."""
    from vqbench.planning.changes import select_rows
    from vqbench.planning.suite_files import load_suite

    loaded = load_suite(str(suite(tmp_path)))
    [override] = select_rows(loaded, only=["fsq"])
    assert [row["label"] for row in override.value] == ["base", "fsq"]


def test_swapped_runs_share_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After run: encoders equal the parent's bit by bit, decoders do not; status, table and load_run know the runs."""
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path, more="seeds: [1]")
    assert command("run", path, "--test-images", 100, "--jobs", 0) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "swap (frozen encoder, 1 epoch, batch 64, learning rate 0.001, float32); clean (" in shown
    base, vq, fsq = (entry.run for entry in loading.load(str(path), []).entries)
    store = ResultStore("runs")
    states = [torch.load(store.folder(run) / "best.pt", weights_only=True) for run in (base, vq, fsq)]
    for state in states[1:]:
        differ = {
            name for name in state if name.startswith("backbone.") and not torch.equal(state[name], states[0][name])
        }
        parts = {name.split(".")[1] for name in differ}
        assert parts == {"decoder"}
    assert store.folder(vq).name == f"fashion_mnist_5k-vq-{base.key[:8]}-swap-{vq.key}"
    codes = {name: states[1][name] for name in states[1] if name.startswith("quantizer.")}
    assert codes
    assert command("status", path, "--test-images", 100) == 0
    assert "3 done" in capsys.readouterr().out
    model = vqbench.load_run(vq.key)
    images = torch.zeros(2, 1, 28, 28)
    assert model.reconstruct(images).shape == images.shape


def test_more_metrics_need_no_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained run is measured by a further metric without the checkpoint of its parent."""
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path, more="seeds: [1]")
    words = ("run", path, "--test-images", 100, "--jobs", 0, "--only", "vq")
    assert command(*words) == 0
    base, vq = (entry.run for entry in loading.load(str(path), []).entries[:2])
    (ResultStore("runs").folder(base) / "best.pt").unlink()
    assert command(*words, "--metrics", "stability") != 0  # the parent itself cannot be measured any more
    record = ResultStore("runs").read(vq)
    assert record is not None
    assert record.values["clean@100"]["stability"].value is not None


class NoWeights(Backbone):
    """A decoder without weights."""

    paper = "none"

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 2, 2, 2)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(x)

    def decode(self, z_q: torch.Tensor) -> torch.Tensor:
        return z_q[:, :1].repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_decoder_without_weights_cannot_adapt() -> None:
    """Where the decoder has nothing to train, the error says so, and nothing is left frozen."""
    backbone = NoWeights()
    with pytest.raises(RunError, match="no weights to adapt"), frozen_encoder(backbone, torch.zeros(1, 1, 4, 4)):
        pass
    assert all(each.requires_grad for each in backbone.parameters())
