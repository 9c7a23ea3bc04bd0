"""Quantizers alone: fitted to fixed features, between k-means and a random codebook, through run and table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.ranks import Few
from tests.support.tiny_suite import vqbench
from vqbench import registry, spec
from vqbench.backbone import Autoencoder, Backbone
from vqbench.backbones.conv import Conv
from vqbench.backbones.space_to_depth import SpaceToDepth
from vqbench.dataset import Dataset
from vqbench.datasets.gaussian import Gaussian
from vqbench.errors import Interrupted, RunError
from vqbench.functional.relative_error import relative_error
from vqbench.planning import expansion, loading
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import load_suite
from vqbench.quantizer import Quantizer
from vqbench.quantizers.kmeans import KMeans
from vqbench.quantizers.vq import VQ
from vqbench.quantizers.vq_ema import VQEMA
from vqbench.recipe import Task
from vqbench.recipes.atomic import AtomicRecipe
from vqbench.store.results import ResultStore
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine

FEATURES = {"train": 4096, "test": 16_384}
SHORT = {"epochs": 16, "batch_size": 256}


def task(folder: Path, quantizer: Quantizer, dataset: Dataset, backbone: Backbone | None = None) -> Task:
    model = Autoencoder(backbone or SpaceToDepth(dataset.channels, quantizer.dim), quantizer)
    return Task(model, dataset, spec.seeds(42, "atomic"), Engine("cpu"), folder, CodebookMonitor())


def fit(folder: Path, quantizer: Quantizer, dataset: Dataset, **args: Any) -> Task:
    made = task(folder, quantizer, dataset)
    AtomicRecipe(**{**SHORT, "learning_rate": 1e-2, **args}).fit(made)
    return made


@torch.no_grad()
def error(quantizer: Quantizer, dataset: Dataset) -> float:
    """Return the relative error on the test split."""
    z = dataset.pixels("test")[:, : quantizer.dim]
    assert isinstance(z, torch.Tensor)
    return relative_error(z.flatten(1), quantizer.eval()(z).z_q.flatten(1))


def errors_of_the_suite(folder: Path, num_codes: int, dim: int) -> dict[str, float]:
    """Fit every row of ``atomic_quick`` at one size to few features: label -> relative error."""
    written = load_suite("atomic_quick").model_dump(exclude_unset=True)
    rows = [row for row in written["quantizers"] if dim in row.get("codebook", {}).get("dim", [dim])]
    for row in rows:
        row.pop("codebook", None)
    suite = SuiteSpec.model_validate({**written, "quantizers": rows, "codebook": {"num_codes": num_codes, "dim": dim}})
    dataset, errors = Gaussian(dim=dim, **FEATURES), {}
    for entry in expansion.expand(suite):
        torch.manual_seed(0)
        args = entry.run.recipe.args
        own = SHORT if args["batch_size"] < 65_536 else {"epochs": 1, "batch_size": FEATURES["train"]}
        quantizer = registry.create("quantizers", entry.run.quantizer.name, **entry.run.quantizer.args)
        fit(folder / str(entry.row), quantizer, dataset, **{**args, **own})
        errors[entry.label] = error(quantizer, dataset)
    return errors


@pytest.mark.parametrize(
    "dim", [pytest.param(2, marks=pytest.mark.integration), pytest.param(8, marks=pytest.mark.slow)]
)
def test_rows_lie_between_k_means_and_a_random_codebook(tmp_path: Path, dim: int) -> None:
    """No row of the suite is better than k-means by 1 %, and one behind a random codebook says why in parentheses."""
    errors = errors_of_the_suite(tmp_path, 32, dim)
    best, random = errors["k-means"], errors["random codebook"]
    assert errors["rate-distortion bound"] < best < random
    theory = {"rate-distortion bound", "Zador, large K"}
    methods = {label: value for label, value in errors.items() if label not in theory}
    assert not {label: value for label, value in methods.items() if value < 0.99 * best}
    assert not {label: value for label, value in methods.items() if value > 1.01 * random and "(" not in label}


def test_the_encoder_stays_and_the_quantizer_learns(tmp_path: Path) -> None:
    """With a network, features are those of its initial weights, no weight of it changes, and only codes count."""
    torch.manual_seed(0)
    quantizer = VQ(16, 4)
    made = task(tmp_path, quantizer, Few(), Conv(1, 4, hidden=16, residual_hidden=8))
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    AtomicRecipe(epochs=2, batch_size=100, learning_rate=1e-2).fit(made)
    changed = {name for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"quantizer.codebook"}
    assert [name for name, each in made.model.named_parameters() if each.requires_grad] == ["quantizer.codebook"]


def test_running_means_need_no_gradient(tmp_path: Path) -> None:
    """A method without parameters is fitted as well, and each epoch of the history has the relative error."""
    dataset = Gaussian(dim=1, **FEATURES)
    made = task(tmp_path, VQEMA(8, 1), dataset)
    history = AtomicRecipe(**SHORT, learning_rate=1e-2).fit(made).history
    assert error(made.model.quantizer, dataset) < 0.06  # the best codebook of 8 codes has 0.0345
    assert history[-1]["relative_error"] == pytest.approx(error(made.model.quantizer, dataset), rel=0.1)


def test_a_fit_that_is_stopped_ends_with_the_same_codes(tmp_path: Path) -> None:
    """Loaded from its last checkpoint, a finished fit returns the codes that it had."""
    dataset = Gaussian(dim=2, **FEATURES)
    first, again = (fit(tmp_path, KMeans(16, 2), dataset, epochs=1).model.state_dict() for _ in range(2))
    assert torch.equal(first["quantizer.codebook"], again["quantizer.codebook"])


def test_features_that_cannot_be_fitted_are_refused(tmp_path: Path) -> None:
    """More codes than features, and features without variance, are errors of the run with a sentence."""

    class Constant(Gaussian):
        @staticmethod
        def draw(generator: Any, shape: tuple[int, int]) -> Any:
            return Gaussian.draw(generator, (1, shape[1])).repeat(shape[0], 0)

    with pytest.raises(RunError, match=r"num_codes 500 is larger than all 400 training features"):
        fit(tmp_path, VQ(500, 1), Gaussian(dim=1, train=400, test=10))
    with pytest.raises(RunError, match="all training features are equal"):
        fit(tmp_path, VQ(5, 1), Constant(dim=1, train=400, test=10))
    with pytest.raises(RunError, match="batch_size 256 is larger than the 100 training images"):
        fit(tmp_path, VQ(5, 1), Gaussian(dim=1, train=100, test=10))


def test_a_fit_goes_on_with_its_own_encoder(tmp_path: Path) -> None:
    """A fit that resumes encodes by its checkpoint's weights, not by a parent that was trained anew since."""

    def half_done(folder: Path, encoder: int, stop: int | None) -> Task:
        torch.manual_seed(encoder)
        backbone = Conv(1, 4, hidden=16, residual_hidden=8)
        torch.manual_seed(0)
        made = task(folder, VQ(16, 4), Few(), backbone)
        done = 0

        def progress(now: int, total: int) -> None:
            nonlocal done
            done = now

        made.progress, made.stopped, made.checkpoint_interval = progress, lambda: done == stop, 0.0
        recipe = AtomicRecipe(epochs=3, batch_size=100, learning_rate=1e-2)
        if stop is None:
            recipe.fit(made)
        else:
            with pytest.raises(Interrupted):
                recipe.fit(made)
        return made

    whole = half_done(tmp_path / "whole", encoder=1, stop=None).model.state_dict()
    half_done(tmp_path / "parts", encoder=1, stop=2)
    resumed = half_done(tmp_path / "parts", encoder=2, stop=None).model.state_dict()
    assert {name for name in whole if not torch.equal(whole[name], resumed[name])} == set()


ON_PARENT = """\
name: features
train: {atomic: {epochs: 1, batch_size: 100, learning_rate: 1e-2, subset: 500}}
parent: base
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: [16, 32], dim: 16}
quantizers:
  - identity: {}
    label: base
    train: {clean: {epochs: 1, batch_size: 64, learning_rate: 1e-3, subset: 1300}}
    codebook: {num_codes: 32}
  - kmeans: {iterations: 20}
    label: k-means
    train: {atomic: {epochs: 1, batch_size: 500, learning_rate: 1e-2, subset: 500}}
  - {random_codebook: {}, label: random}
  - {vq_ema_restart: {}, label: restart}
seeds: [1]
metrics: [relative_error, psnr, usage]
table: {group: num_codes, columns: [relative_error, psnr, usage]}
"""


def test_features_of_a_trained_autoencoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a parent, all rows have its weights bit by bit and its key in theirs, and images are measured, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features.yaml").write_text(ON_PARENT)
    assert vqbench("run", "features.yaml", "--test-images", 100, "--jobs", 0) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Trained under atomic (1 epoch, batch 100, learning rate 0.01, fixed features); " in out
    base, *others = (entry.run for entry in loading.load("features.yaml", []).entries)
    assert [run.parent for run in others] == [base.key] * 6
    store = ResultStore("runs")
    expected = torch.load(store.folder(base) / "best.pt", weights_only=True)
    errors = {}
    for run in others:
        state = torch.load(store.folder(run) / "best.pt", weights_only=True)
        assert all(torch.equal(state[name], value) for name, value in expected.items()), run.quantizer.name
        record = store.read(run)
        assert record is not None
        values = record.values["clean@100"]
        errors[run.quantizer.args["num_codes"], run.quantizer.args.get("iterations")] = values["relative_error"].value
        assert values["psnr"].value > 0
        assert store.folder(run).name.startswith(f"fashion_mnist_5k-{run.quantizer.name}-{base.key[:8]}-atomic-")
    for size in (16, 32):
        assert errors[size, 20] < errors[size, 0]  # k-means, random codebook
    assert vqbench("status", "features.yaml", "--test-images", 100) == 0
    assert "7 done" in capsys.readouterr().out
    assert vqbench("verify", "runs") == 0


SUITE = """\
name: alone
train: {atomic: {epochs: 1, batch_size: 2000, learning_rate: 1e-2}}
measure: [clean]
datasets: [{gaussian: {dim: 2, train: 2000, test: 3000}}, {uniform: {dim: 2, train: 2000, test: 3000}}]
backbone: space_to_depth
codebook: {num_codes: [16], dim: [1, 2]}
quantizers:
  - {distortion_bound: {}, label: bound, on: {uniform: {source: uniform}}}
  - {distortion_bound: {bound: zador}, label: Zador, on: {uniform: {source: uniform}}}
  - {kmeans: {iterations: 300}, label: k-means}
  - {random_codebook: {}, label: random codebook}
metrics: [relative_error, sqnr, usage, entropy]
table: {group: [dataset, dim, num_codes], columns: [relative_error, sqnr, entropy, seconds]}
"""


def test_a_suite_of_features_runs_and_its_table_shows_the_bounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run, table and page go through the same commands as images; each block has the bounds of its own size."""
    suite = tmp_path / "alone.yaml"
    suite.write_text(SUITE)
    store = tmp_path / "runs"
    assert vqbench("run", suite, "--store", store, "--jobs", 0, "--quiet") == 0
    capsys.readouterr()
    assert vqbench("table", suite, "--store", store, "--json") == 0
    [table] = json.loads(capsys.readouterr().out)
    found: dict[str, dict[str, float]] = {}
    for cell in table["cells"]:
        if cell["metric"] == "relative_error":
            found.setdefault(cell["dataset"], {})[cell["row"]] = cell["values"][0]
    sizes = ("dim = 1, num_codes = 16", "dim = 2, num_codes = 16")
    assert list(found) == [f"{source}, {size}" for source in ("gaussian", "uniform") for size in sizes]
    for label, rows in found.items():
        assert rows["bound"] < rows["k-means"] < rows["random codebook"], label
    assert found["gaussian, dim = 2, num_codes = 16"]["bound"] == pytest.approx(1 / 16, rel=1e-3)
    assert found["uniform, dim = 1, num_codes = 16"]["Zador"] == pytest.approx(1 / 256, rel=1e-3)
    assert found["uniform, dim = 1, num_codes = 16"]["k-means"] == pytest.approx(1 / 256, rel=0.05)
    assert vqbench("report", suite, "--store", store, "--output", tmp_path / "page.html") == 0
    assert vqbench("run", suite, "--store", store, "--jobs", 0, "--quiet") == 0  # nothing is left to do
    assert vqbench("verify", store) == 0
    for command in ("explain", "export"):
        assert vqbench(command, next(store.glob("gaussian-kmeans-*")).name[-16:], "--store", store) == 2
        assert "fitted to features of gaussian, so it has no images" in capsys.readouterr().err
