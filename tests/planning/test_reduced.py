"""Reduced copies of suites: what ``--epochs``, ``--batch-size`` and ``--subset`` do to each stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_suite import SUITE, vqbench
from vqbench import registry
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.results import ResultStore


def stages(plan: Plan) -> tuple[RunSpec, RunSpec]:
    second = plan.entries[0].second
    assert second is not None
    return plan.entries[0].run, second


def generating(folder: Path, recipe: str = "autoregressive", length: str = "steps: 5000") -> Path:
    path = folder / "both.yaml"
    text = (
        SUITE.format(rows="vq", epochs=60).replace("name: tiny", "name: both").replace("[l1, psnr, usage]", "[l1, fid]")
    )
    text = text.replace("columns: [l1, psnr, usage, seconds]", "columns: [l1, fid]")
    path.write_text(text + f"generate: {{{recipe}: {{{length}, batch_size: 50}}}}\nsamples: {{count: 100}}\n")
    return path


@pytest.mark.parametrize("recipe", ["autoregressive", "diffusion"])
def test_epochs_reduce_both_stages(tmp_path: Path, recipe: str) -> None:
    """A second stage counted in updates has as many passes over its images as the first; both are marked."""
    suite = generating(tmp_path, recipe)
    plan = loading.load(suite, [], reduced={"epochs": 2, "subset": 1000})
    first, second = stages(plan)
    assert plan.length(first).updates == 2 * -(-(1000 - 500) // 64)  # 500 are held out for selection
    assert plan.length(second).updates == 2 * 1000 // 50
    assert plan.length(second).about.startswith("2 epochs, batch 50")
    assert second.recipe.args["steps"] is None
    assert second.recipe.args["epochs"] == 2
    assert "(REDUCED)" in plan.suite.heading
    smaller = loading.load(suite, [], reduced={"batch_size": 25})
    assert smaller.length(stages(smaller)[1]).updates == 5000, "updates stay, with fewer images each"


def test_a_second_stage_of_so_many_updates_keeps_its_key(tmp_path: Path) -> None:
    """The argument ``epochs`` came after runs were published, so a run without it has no trace of it."""
    _, second = stages(loading.load(generating(tmp_path), []))
    assert second.recipe.args["steps"] == 5000
    assert "epochs" not in second.recipe.args
    published = {path.parent.name for path in (Path(__file__).parents[2] / "results").glob("*/record.json")}
    plan = loading.load("generate_codes", [])
    for entry in plan.entries:
        assert entry.second is not None
        assert ResultStore("results").folder(entry.second).name in published


def test_a_length_is_given_once(tmp_path: Path) -> None:
    """Both lengths, or none, are refused with the place in the file."""
    for length in ("steps: 10, epochs: 1", "learning_rate: 1e-3"):
        with pytest.raises(UsageError, match=r"both\.yaml.*generate.*either steps \(updates\) or epochs"):
            loading.load(generating(tmp_path, length=length), [])


def test_epochs_reduce_trainings_counted_in_updates() -> None:
    """Whole systems, whose suites count updates, are reduced as well, without their second phase."""
    plan = loading.load("photos_quick", [], reduced={"epochs": 1})
    images = next(iter(plan.datasets.values())).train
    assert {plan.length(run).updates for run in plan.runs()} == {images // 8}
    assert "epochs" not in registry.load("recipes", "gan").LATER, "it is as old as steps"


def test_the_folder_of_a_second_stage_says_what_it_is(tmp_path: Path) -> None:
    """It names its parent, which it follows in a listing, and its recipe; status and progress say so too."""
    first = RunSpec(*(PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "photos", "vq")), seed=42)
    second = RunSpec(PluginSpec("diffusion", 1, {}), first.backbone, first.dataset, first.quantizer, 42, first.key)
    folders = [ResultStore(tmp_path).folder(run).name for run in (first, second)]
    assert folders == [f"photos-vq-{first.key}", f"photos-vq-{first.key[:8]}-diffusion-{second.key}"]


def test_published_second_stages_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    """The published runs of every suite with two stages are found under the names of their folders."""
    results = Path(__file__).parents[2] / "results"
    for suite in ("generate_codes", "generate_fashion", "generate_quick"):
        assert vqbench("status", suite, "--store", results) == 0
        assert "not begun" not in capsys.readouterr().out
