"""The second stage: its schedule, sampler, training and key, and the metrics of what it makes."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from tests.recipes.test_autoencoder import Few, every_third
from tests.support.tiny_suite import command, vqbench
from vqbench import protocol, registry, spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.errors import Interrupted, UsageError
from vqbench.evaluation import contact_sheets
from vqbench.evaluation import samples as generation
from vqbench.execution import preparation, runner
from vqbench.execution.executors.executor import pop_ready
from vqbench.execution.messages import RunSettings
from vqbench.metric import Context, SampleMetric, Samples
from vqbench.metrics.copies import Copies
from vqbench.metrics.fid import FID
from vqbench.metrics.precision import Precision
from vqbench.metrics.recall import Recall
from vqbench.metrics.sample_kid import SampleKID
from vqbench.networks import feature_cache, inception
from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.quantizers.identity import Identity
from vqbench.quantizers.vq import VQ
from vqbench.recipe import Task
from vqbench.recipes.diffusion import Diffusion
from vqbench.spec import Job
from vqbench.store.record import Failure
from vqbench.store.results import ResultStore
from vqbench.store.value_name import Sampling, ValueName
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine
from vqbench.training.latents.cache import LatentCache
from vqbench.training.latents.denoiser import Denoiser, scheduler, unet

pytest.importorskip("diffusers", reason="the extra `generate` is not installed")

SMALL = {"channels": 8, "multipliers": "1x2", "attention": "2", "blocks": 1}
SUITE = """
name: both_stages
train: {clean: {epochs: 1, batch_size: 64, learning_rate: 1e-3}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 64, dim: 8}
quantizers: [{vq: {}}]
generate: {diffusion: {steps: 4, batch_size: 8, channels: 8, multipliers: "1x2", attention: "2", blocks: 1}}
samples: {count: 6, steps: 2, eta: 0.5, reference: test}
metrics: [psnr, copies]
table: {columns: [psnr, copies, seconds]}
"""


def first_stage(dim: int = 8) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(Conv(1, dim, hidden=16, residual_hidden=8), VQ(32, dim))


def recipe(**changes: Any) -> Diffusion:
    return Diffusion(**{"steps": 8, "batch_size": 64, "learning_rate": 1e-3, **SMALL, **changes})


def task(folder: Path, **changes: Any) -> Task:
    return Task(
        first_stage(),
        Few(),
        spec.seeds(42, "few"),
        Engine("cpu"),
        folder,
        **{"monitor": CodebookMonitor(), **changes},
    )


def suite(folder: Path, text: str = SUITE) -> Path:
    path = folder / "both_stages.yaml"
    path.write_text(text)
    return path


# Schedule and sampler -------------------------------------------------------------------------------------------------


def test_the_schedule_is_that_of_latent_diffusion() -> None:
    """Betas run from 0.0015 to 0.0195 as the square of a linear ramp; after 1,000 steps 1.42304e-4 of the signal is
    left, and 200 steps of DDIM are every fifth from 1 on."""
    chain = scheduler()
    ramp = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    np.testing.assert_allclose(chain.betas.numpy(), ramp, rtol=1e-5)
    assert float(chain.alphas_cumprod[-1]) == pytest.approx(1.42304e-4, rel=1e-4)
    assert scheduler(200).timesteps.tolist() == list(range(996, 0, -5))
    assert scheduler(1000).timesteps.tolist() == list(range(999, -1, -1))
    with pytest.raises(UsageError, match="400 steps of DDIM do not divide 1,000"):
        scheduler(400)


class Plain(nn.Module):
    """An autoencoder that leaves images as they are, so that a generator's samples are features."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = SimpleNamespace(encode=lambda x: x, decode=lambda z: z)
        self.quantizer = lambda z: SimpleNamespace(z_q=z)


class OfGaussian(nn.Module):
    """The best prediction of the noise where features are normal with deviation s: √(1−ā)·x / (ā·s² + 1 − ā)."""

    def __init__(self, s: float) -> None:
        super().__init__()
        self.s, self.kept = s, scheduler().alphas_cumprod.double()

    def slope(self, t: int) -> float:
        kept = float(self.kept[t])
        return math.sqrt(1 - kept) / (kept * self.s**2 + 1 - kept)

    def forward(self, x: Tensor, t: Tensor) -> Any:
        return SimpleNamespace(sample=self.slope(int(t)) * x)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_the_sampler_is_ddim(eta: float) -> None:
    """On a known Gaussian every step is DDIM's formula, with the noise of the sample's own seed; at eta 0 there is none
    but the first."""
    net = OfGaussian(2.0)
    generator = Denoiser(net, Plain(), (3, 2, 2), 1)  # type: ignore[arg-type]
    found = generator.sample([7], steps=20, eta=eta)[0]
    noise = torch.Generator().manual_seed(7)
    x = torch.randn(3, 2, 2, generator=noise).double()
    for t in range(951, 0, -50):
        now, then = float(net.kept[t]), float(net.kept[max(t - 50, 0)])
        predicted = net.slope(t) * x
        sigma = eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        clean = (x - math.sqrt(1 - now) * predicted) / math.sqrt(now)
        x = math.sqrt(then) * clean + math.sqrt(max(1 - then - sigma**2, 0)) * predicted
        if eta > 0:
            x = x + sigma * torch.randn(3, 2, 2, generator=noise).double()
    torch.testing.assert_close(found.double(), x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_have_the_spread_of_the_data(eta: float) -> None:
    """With the best predictor, 200 steps give back the deviation of the features, whichever eta."""
    generator = Denoiser(OfGaussian(0.5), Plain(), (64, 8, 8), 1)  # type: ignore[arg-type]
    assert float(generator.sample([1], steps=200, eta=eta).std()) == pytest.approx(0.5, rel=0.05)


def test_a_sample_is_its_seed_s_alone() -> None:
    """An image is the same whatever else is sampled with it, so that ranks, batches and counts change nothing."""
    torch.manual_seed(1)
    generator = recipe().generator(first_stage(), 1, 28).eval()
    together = generator.sample([1, 2, 3], steps=4, eta=1.0)
    torch.testing.assert_close(together[2:], generator.sample([3], steps=4, eta=1.0), rtol=1e-4, atol=1e-5)
    assert not torch.equal(together[0], together[1])


def test_odd_maps_are_padded_and_cut() -> None:
    """A map of 7x7 passes a UNet that halves it, and what the margin holds is no part of the noise."""
    seen = []
    net = unet(8, 8, [1, 2], [2], 1)
    net.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    generator = Denoiser(net, first_stage(), (8, 7, 7), 2)
    assert generator(torch.ones(2, 8, 7, 7), torch.tensor(5)).shape == (2, 8, 7, 7)
    assert seen[0].shape == (2, 8, 8, 8)
    assert float(seen[0][..., 7, :].abs().sum() + seen[0][..., 7].abs().sum()) == 0


def test_the_full_unet_has_attention_where_configured() -> None:
    """The default sizes are latent diffusion's: 4 levels of 224 to 896 channels, attention on all but the first."""
    with torch.device("meta"):
        net: Any = unet(4, 224, [1, 2, 3, 4], [2, 4, 8], 2)
    assert net.config.block_out_channels == (224, 448, 672, 896)
    assert net.config.down_block_types == ("DownBlock2D", *["AttnDownBlock2D"] * 3)
    assert net.config.up_block_types == (*["AttnUpBlock2D"] * 3, "UpBlock2D")
    assert net.down_blocks[1].attentions[0].heads == 448 // 32


# Scaling and decoding -------------------------------------------------------------------------------------------------


def test_features_get_unit_variance() -> None:
    """Global: one factor for all, as released; channel: each to zero mean and unit variance. One that never moves
    stays finite."""
    torch.manual_seed(0)
    features = torch.randn(50, 3, 4, 4) * torch.tensor([1.0, 5.0, 0.0]).view(3, 1, 1) + 2
    generator = Denoiser(nn.Identity(), Plain(), (3, 4, 4), 1)  # type: ignore[arg-type]
    generator.scale_to(torch.zeros(()), LatentCache(features, False, features.device).moments(False)[1])
    scaled = generator.standardized(features)
    assert float(scaled.std(correction=0)) == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(scaled * features.std(correction=0), features)
    generator.scale_to(*LatentCache(features, False, features.device).moments(True))
    scaled = generator.standardized(features)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(scaled.std((0, 2, 3), correction=0), torch.tensor([1.0, 1.0, 0.0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(generator.decode(scaled), features)


def test_the_decoder_quantizes() -> None:
    """A sampled map is decoded as its codes are: quantizing within the decoder gives the image of the codes."""
    first = first_stage().eval()
    generator = Denoiser(nn.Identity(), first, (8, 7, 7), 1)
    generator.scale_to(torch.randn(8), 3 * torch.rand(8) + 1)
    x = torch.randn(4, 8, 7, 7)
    with torch.no_grad():
        codes = first.quantizer(x * generator.scale + generator.mean).codes
        torch.testing.assert_close(generator.decode(x), first.backbone.decode(first.quantizer.decode(codes)))


def test_a_generator_keeps_no_autoencoder() -> None:
    """What a second stage trains and keeps is its own: no weight of the first stage is in its state or parameters."""
    generator = recipe().generator(first_stage(), 1, 28)
    assert all(name.startswith("net.") for name, _ in generator.named_parameters())
    assert {name for name in generator.state_dict() if not name.startswith("net.")} == {"mean", "scale", "first_digest"}


# Training -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flips", [False, True])
def test_stopped_anywhere_it_resumes_exactly(tmp_path: Path, flips: bool) -> None:
    """A training that is stopped after every few updates ends with the weights of one that was never stopped."""
    recipe(flips=flips).fit(task(tmp_path / "whole"))
    stops = 0
    while True:
        try:
            trained = recipe(flips=flips).fit(task(tmp_path / "parts", stopped=every_third(iter(range(100)))))
            break
        except Interrupted:
            stops += 1
    assert stops == 3  # of 8 updates and one piece of features
    whole, parts = (torch.load(tmp_path / each / "best.pt", weights_only=True) for each in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2]


def test_half_precision_keeps_float32_weights(tmp_path: Path) -> None:
    """Under bf16 the UNet is computed in half precision, while weights, features and samples stay float32."""
    work = Task(first_stage(), Few(), spec.seeds(42, "few"), Engine("cpu", "bf16"), tmp_path, CodebookMonitor())
    trained = recipe(steps=1, precision="bf16").fit(work)
    plain = recipe(steps=1).fit(task(tmp_path / "plain"))
    assert trained.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=0.05)
    assert trained.history[0]["loss"] != plain.history[0]["loss"]
    kept = torch.load(tmp_path / "best.pt", weights_only=True)
    assert {value.dtype for name, value in kept.items() if name != "first_digest"} == {torch.float32}


def test_training_lowers_the_loss_and_leaves_the_first_stage(tmp_path: Path) -> None:
    """A short training predicts noise better than nothing, which has loss 1, and moves no weight of the first stage."""
    work = task(tmp_path)
    before = {name: value.clone() for name, value in work.model.state_dict().items()}
    trained = recipe(steps=40, learning_rate=4e-3, scaling="channel").fit(work)
    assert trained.history[-1]["loss"] < 0.9 < trained.history[0]["loss"]
    assert all(torch.equal(value, before[name]) for name, value in work.model.state_dict().items())


@pytest.mark.parametrize("argument", ["multipliers", "attention"])
def test_lists_of_numbers_are_checked(argument: str) -> None:
    """A malformed list is an error that names the argument."""
    with pytest.raises(UsageError, match=f"argument '{argument}': '1xx' is no list"):
        recipe(**{argument: "1xx"})


# Suites and keys ------------------------------------------------------------------------------------------------------


def test_a_key_holds_the_first_stage_s(tmp_path: Path) -> None:
    """A second stage names the run that it builds on, so what changes that changes its key; the sampler does not."""

    def runs(*sets: str) -> list[Any]:
        return loading.load(suite(tmp_path), [], list(map(Override.parse, sets))).runs()

    first, second = runs()
    assert (first.parent, second.parent) == (None, first.key)
    assert second.recipe.name == "diffusion"
    other, other_second = runs("train.clean.epochs=2")
    assert other_second.parent == other.key != first.key
    assert other_second.key != second.key
    assert second.recipe == other_second.recipe
    assert [run.key for run in runs("samples.steps=8")] == [first.key, second.key]
    assert runs("generate.diffusion.steps=5")[0] == first
    assert runs("generate=null", "metrics=[psnr]", "table.columns=[psnr]") == [first]


def test_how_it_was_sampled_is_in_the_name_of_a_number() -> None:
    """A name says how many samples, how, against what and under which protocol, and reads back."""
    sampling = Sampling(1000, "test", settings={"steps": 50, "eta": 0.5})
    name = ValueName("clean", 200, sampling)
    assert str(name) == "clean@200:n=1000,reference=test,steps=50,eta=0.5"
    assert ValueName.parse(str(name)) == name
    some = Sampling(9, references=5000, settings={"temperature": 0.9})
    assert ValueName.parse(f"clean:{some.name}").sampling == some != Sampling(9, settings=some.settings)
    assert name.measuring is protocol.MEASURE["clean"]


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        (["generate=null"], "'copies' measures a second stage; give the suite one by `generate`"),
        (["metrics=[copies]", "table.columns=[copies]"], "needs at least one metric of samples"),
        (["metrics=[psnr]", "table.columns=[psnr]"], "needs at least one metric of samples"),
        (["metrics=[psnr, prior_bits]", "table.columns=[psnr]"], "the likelihood of codes, which 'diffusion' does not"),
        (["generate.diffusion.chanels=8"], "no argument 'chanels'"),
        (["samples.eta=2"], "samples.eta is 2; it should be a number from 0 to 1"),
        (["samples.steps=400"], "samples.steps is 400; it should be a divisor of 1,000, such as"),
        (["samples.temperature=0.9"], "diffusion is not sampled by temperature"),
        (["generate={autoencoder: {epochs: 1, batch_size: 8, learning_rate: 1e-3}}"], "trains no second stage"),
    ],
)
def test_suites_that_make_no_sense_are_refused(tmp_path: Path, sets: list[str], sentence: str) -> None:
    """Metrics of samples without samples, an unused second stage, and wrong arguments are usage errors."""
    with pytest.raises(UsageError, match=sentence):
        loading.load(suite(tmp_path), [], list(map(Override.parse, sets)))


def test_both_stages_from_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` trains a first stage and then its second, keeps samples and images, and its table has both's numbers; a
    finished run is not sampled again, and `sample` reproduces the images of the run."""
    path, store = suite(tmp_path), tmp_path / "runs"
    assert vqbench("run", path, "--store", store, "--jobs", 0, "--quiet") == 0
    first, second = loading.load(path, []).runs()
    folder = ResultStore(store).folder(second)
    record = ResultStore(store).read(second)
    assert record is not None
    (name,) = record.values
    assert name == "clean:n=6,reference=test,steps=2,eta=0.5"
    assert record.values[name]["copies"].images == 6
    capsys.readouterr()
    assert vqbench("table", path, "--store", store, "--results", tmp_path, "--json") == 0
    cells = {cell["metric"]: cell for cell in json.loads(capsys.readouterr().out)[0]["cells"]}
    assert cells["copies"]["values"] == [record.values[name]["copies"].value]
    made = [ResultStore(store).read(run).made["seconds"] for run in (first, second)]  # type: ignore[union-attr]
    assert cells["seconds"]["values"] == [pytest.approx(sum(made))]

    kept = np.load(folder / "samples-n=6,steps=2,eta=0.5.npy")
    assert kept.shape == (6, 1, 28, 28)
    assert Image.open(folder / "samples.png").size == Image.open(tmp_path / _sampled(tmp_path, second, 6)).size
    assert (folder / "samples.png").read_bytes() == (tmp_path / "6.png").read_bytes()
    words = ("--store", store, "-n", 6, "-o", tmp_path / "new" / "row.png", "--steps", 2, "--eta", 0.5)
    assert vqbench("sample", path, "vq", *words) == 0  # of the row, the second stage; into a folder that is made
    assert (tmp_path / "new" / "row.png").read_bytes() == (tmp_path / "6.png").read_bytes()
    assert vqbench("sample", path, "vqq", *words) == 2
    assert "no row 'vqq'; did you mean 'vq'" in capsys.readouterr().err
    assert vqbench("plan", path, "--store", store, "--results", tmp_path) == 0
    assert "diffusion on vq" in (shown := capsys.readouterr().out)
    assert "2 distinct runs, 0 not done" in shown
    assert vqbench("sample", first.key, "--store", store) == 2
    assert "is a first stage" in capsys.readouterr().err


def _sampled(folder: Path, run: Any, count: int) -> str:
    """Write the first ``count`` samples of ``run``; the file's name."""
    name = f"{count}.png"
    words = ("--store", folder / "runs", "-n", count, "-o", folder / name, "--steps", 2, "--eta", 0.5)
    assert vqbench("sample", run.key, *words) == 0
    return name


def test_a_failed_first_stage_is_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second stage without its first is not started, has no failure, and its cells say why they are
    empty."""
    path, store = suite(tmp_path), ResultStore(tmp_path / "runs")
    first, second = loading.load(path, []).runs()
    wanted = loading.load(path, []).wanted(second)
    said = SimpleNamespace(run_started=None, run_advanced=None, run_ended=None, log=print)
    worker = runner.Runner(store.root, RunSettings("cpu"), said, lambda: False)  # type: ignore[arg-type]
    result = worker.attempt(Job(second, wanted, first_stage=first))
    assert (result.status, result.reason) == (
        "machine_fault",
        f"its first stage, {first.key}, is not done yet; the same command does it first",
    )
    with store.lock(first):
        assert worker.attempt(Job(second, wanted, first_stage=first)).status == "held_elsewhere"
    store.fail(first, Failure("it broke", []))
    assert (
        worker.attempt(Job(second, wanted, first_stage=first)).reason
        == f"its first stage, {first.key}, failed: it broke"
    )
    assert store.failure(second) is None
    assert vqbench("table", path, "--store", store.root, "--results", tmp_path) == 0
    assert "its first stage failed: it broke" in capsys.readouterr().out
    assert vqbench("status", path, "--store", store.root) == 0
    assert f"waits for {first.key}, failed: it broke" in capsys.readouterr().out


def test_a_second_stage_waits_for_its_first(tmp_path: Path) -> None:
    """The queue of parallel runs starts no second stage while its first stage is queued or running."""
    path = suite(tmp_path, SUITE.replace("[{vq: {}}]", "[{vq: {}}, {vq_ema: {}}]"))
    (one, two), (on_one, on_two) = (loading.load(path, []).runs()[part] for part in (slice(2), slice(2, 4)))
    jobs = [Job(one, {}), Job(on_one, {}, first_stage=one), Job(two, {}), Job(on_two, {}, first_stage=two)]
    queue = deque(jobs)
    assert [pop_ready(queue, []), pop_ready(queue, [jobs[0]])] == [jobs[0], jobs[2]]
    assert pop_ready(queue, [jobs[0], jobs[2]]) is None
    assert pop_ready(queue, [jobs[0]]) == jobs[3]
    assert pop_ready(queue, []) == jobs[1]
    assert pop_ready(queue, []) is None


def test_a_missing_package_is_reported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package that the second stage needs, `run` ends before it trains the first."""
    monkeypatch.setattr(Diffusion, "packages", ("no_such_package",))
    with pytest.raises(UsageError, match=r"recipe 'diffusion' needs no_such_package.*vqbench\[generate\]"):
        preparation.prepare(loading.load(suite(tmp_path), []))


# Metrics of samples ---------------------------------------------------------------------------------------------------


def measured(metric: Callable[[Context], Any], features: Tensor, references: Tensor) -> float:
    context = Context(protocol.MEASURE["clean"], "0" * 64, None, None, torch.device("cpu"))
    nothing = torch.zeros(0, 1, 2, 2, dtype=torch.uint8)
    return metric(context).measure(Samples(nothing, nothing, lambda: features, lambda: references))


def test_fid_of_samples_is_torch_fidelity_s() -> None:
    """From features, FID is what torch-fidelity makes of them, also of unequally many; of equal sets it is 0."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    torch.manual_seed(0)
    one, two = torch.randn(80, 16) * 2, torch.randn(120, 16) + 1
    theirs = fid_statistics_to_metric(*map(fid_features_to_statistics, (two, one)), verbose=False)
    assert measured(FID, one, two) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)  # float32 there
    assert measured(FID, one, one) == pytest.approx(0, abs=1e-6)


def test_kid_of_samples_is_the_unbiased_estimate() -> None:
    """From fewer than 1,000 images, KID is the unbiased squared discrepancy of all of them, times 1,000."""
    torch.manual_seed(0)
    one, two = torch.randn(40, 16), torch.randn(40, 16) + 0.5

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / 16 + 1) ** 3

    within = [(kernel(x, x).sum() - kernel(x, x).trace()) / (40 * 39) for x in (one, two)]
    expected = 1000 * float(sum(within) - 2 * kernel(one, two).mean())
    assert measured(SampleKID, one, two) == pytest.approx(expected, rel=1e-4)


def test_precision_and_recall_by_hand() -> None:
    """Precision is the share of samples within the third neighbours' balls of references, recall the reverse."""
    torch.manual_seed(0)
    made, real = torch.randn(30, 2), torch.randn(50, 2) * 3

    def share(some: Tensor, centres: Tensor) -> float:
        radii = torch.cdist(centres, centres).sort(1).values[:, 3]
        return float((torch.cdist(some, centres) <= radii).any(1).float().mean())

    assert measured(Precision, made, real) == pytest.approx(share(made, real))
    assert measured(Recall, made, real) == pytest.approx(share(real, made))
    assert measured(Precision, made, real) > measured(Recall, made, real)  # a narrow generator


def test_copies_are_found() -> None:
    """Training images with a grain of noise are copies; others of the same source mostly are not."""
    training, fresh = Few().pixels("train"), Few().pixels("test")

    def share(images: Tensor) -> float:
        context = Context(protocol.MEASURE["clean"], "0" * 64, None, None, torch.device("cpu"))
        return Copies(context).measure(Samples(images, training, Tensor, Tensor))

    noise = torch.randint(0, 2, (50, 1, 28, 28), dtype=torch.uint8)
    assert share(training[:50] // 2 * 2 + noise) == 100
    assert share(fresh) < 75


def test_metrics_of_samples_say_nothing_about_reconstructions() -> None:
    """In a pass over the test split such a metric keeps nothing and gives no number."""
    names = [name for name in registry.names("metrics") if registry.load("metrics", name).of_samples]  # type: ignore[attr-defined]
    assert {"fid", "sample_kid", "precision", "recall", "copies"} <= set(names)
    context = Context(protocol.MEASURE["clean"], "0" * 64, None, None, torch.device("cpu"))
    for name in names:
        metric = registry.load("metrics", name)(context)
        assert metric.update(None) is None  # type: ignore[attr-defined]
        assert (metric.compute(), metric.state) == (None, {})  # type: ignore[attr-defined]


def test_samples_are_compared_with_the_whole_reference_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are those of all samples and of every reference, in order; those of the references are kept."""
    shown: list[int] = []

    def features(_: Any, images: Tensor, resize: int | None) -> Tensor:
        shown.append(len(images))
        return F.pad(images.flatten(1), (0, 2048 - 784))

    monkeypatch.setattr(inception, "network", lambda device: None)
    monkeypatch.setattr(inception, "features", features)
    monkeypatch.setattr(feature_cache, "features_path", lambda *_: tmp_path / "features.npy")
    few, made = Few(), Few().pixels("train")[:130]
    expected = {"test": few.pixels("test"), "train": few.pixels("train")}
    for reference, name in (("train", "clean"), ("test", "clean@60")):
        (tmp_path / "features.npy").unlink(missing_ok=True)
        seen: list[Samples] = []
        metric = type(
            "Seen", (SampleMetric,), {"measure": lambda self, samples, seen=seen: seen.append(samples) or 0.0}
        )
        monkeypatch.setattr(generation.registry, "load", lambda *_, metric=metric: metric)
        monkeypatch.setattr(generation.registry, "version", lambda *_: 1)
        evaluator = generation.SampleEvaluator(few, torch.device("cpu"))
        under = f"{name}:{Sampling(130, reference, settings={'steps': 1, 'eta': 0}).name}"  # type: ignore[arg-type]
        values = evaluator._values(under, ["seen"], None, made, made)  # type: ignore[arg-type]  # no generator is asked
        count = 60 if reference == "test" else 300
        torch.testing.assert_close(seen[0].references[:, :784], expected[reference][:count].flatten(1) / 255)
        torch.testing.assert_close(seen[0].features[:, :784], made.flatten(1) / 255)
        assert len(seen[0].references) == count
        assert values["seen"].images == 130
    shown.clear()
    assert (
        len(
            generation.SampleEvaluator(few, torch.device("cpu"))._reference_features(
                under, Sampling(reference="test"), protocol.MEASURE["clean"]
            )
        )
        == 60
    )
    assert shown == []


def test_the_nearest_training_image() -> None:
    """The image below a sample is the training image nearest to it."""
    training = Few().pixels("train")
    assert contact_sheets.nearest(training[[5, 17]], training).tolist() == [5, 17]
    grid = Image.open(io.BytesIO(contact_sheets.grid(training[:10])))
    assert grid.size == (2 * (8 * 30 + 2), 2 * (2 * 30 + 2))


def test_identity_is_generated_from_too(tmp_path: Path) -> None:
    """The plain autoencoder, which has no codes, is a first stage as any other."""
    work = task(tmp_path)
    torch.manual_seed(0)
    work.model = Autoencoder(Conv(1, 8, hidden=16, residual_hidden=8), Identity(1, 8))
    recipe(steps=1).fit(work)
    generator = recipe().generator(work.model, 1, 28)
    generator.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    assert generation.sample(generator, work.seeds, range(2), {"steps": 1, "eta": 0}).shape == (2, 1, 28, 28)


PRIOR = "generate={autoregressive: {steps: 4, batch_size: 8, width: 16, layers: 1, heads: 2, dropout: 0.0}}"


@pytest.mark.slow
@pytest.mark.parametrize("sets", [(), ("--set", PRIOR, "--set", "samples={count: 6}")], ids=["diffusion", "prior"])
def test_two_ranks_end_where_one_does(tmp_path: Path, sets: tuple[str, ...]) -> None:
    """Two processes that share batches and sampling train the weights of one, up to rounding, and make its images."""
    path, alone, shared = suite(tmp_path), tmp_path / "alone", tmp_path / "shared"
    without = ("--set", "generate=null", "--set", "metrics=[psnr]", "--set", "table.columns=[psnr]")
    assert vqbench("run", path, "--store", alone, "--jobs", 0, "--quiet", *without) == 0
    shutil.copytree(alone, shared)
    assert vqbench("run", path, "--store", alone, "--jobs", 0, "--quiet", *sets) == 0
    subprocess.run(command("run", path, "--store", shared, "--devices", 2, "--quiet", *sets), check=True)
    second = loading.load(path, [], list(map(Override.parse, sets[1::2]))).runs()[1]
    one, two = (torch.load(ResultStore(each).folder(second) / "best.pt") for each in (alone, shared))
    apart = torch.cat([(two[name] - value).abs().flatten() for name, value in one.items()])
    assert float((apart > 1e-5).double().mean()) < 0.01
    assert (
        float(apart.max()) < 2 * 4 * second.recipe.args["learning_rate"]
    )  # Adam moves what has no gradient but rounding by its rate, either way
    made = [
        np.load(next(ResultStore(each).folder(second).glob("samples-*.npy"))).astype(int) for each in (alone, shared)
    ]
    assert np.abs(made[0] - made[1]).max() <= 1
    record = ResultStore(shared).read(second)
    assert record is not None
    assert record.made["devices"] == 2
