"""The recipe ``gan``: values of its losses and schedules, and exact resume."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support import two_ranks_gan
from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.backbones.vqgan import VQGAN
from vqbench.datasets.fashion_mnist_5k import FashionMnist5k
from vqbench.distributed.group import ALONE
from vqbench.errors import Interrupted, RunError, UsageError
from vqbench.images import to_unit
from vqbench.networks import perceptual
from vqbench.networks.perceptual import layer_distances, lpips_distance, network
from vqbench.quantizer import Quantizer
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.vq import VQ
from vqbench.quantizers.vq_ema import VQEMA
from vqbench.recipe import Task
from vqbench.recipes.gan import Gan
from vqbench.training.adversarial import losses
from vqbench.training.adversarial.passes import FullBatch, MicroBatches
from vqbench.training.adversarial.patch import Patch
from vqbench.training.adversarial.reconstruction import Reconstruction, ReconstructionWeights
from vqbench.training.adversarial.schedule import learning_rate
from vqbench.training.adversarial.stylegan import StyleGAN
from vqbench.training.adversarial.update import AdamConfig, GanConfig, GanTrainer
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.ema import WeightAverage
from vqbench.training.engine import Engine

CPU = torch.device("cpu")
SIDE = 16


class Few(FashionMnist5k):
    """48 training images of 16 pixels."""

    size = SIDE

    def pixels(self, split: Any) -> Tensor:
        return super().pixels(split)[:48, :, 6:22, 6:22].contiguous()


def backbone() -> VQGAN:
    return VQGAN(1, 8, width=32, multipliers="1x1x1", blocks=1, attention="none", middle=False, z_channels=16, size=16)


def model(quantizer: Quantizer | None = None) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(backbone(), quantizer or CVQ(16, 8, contrastive=False))


def recipe(**changes: Any) -> Gan:
    small = {"steps": 6, "batch_size": 16, "learning_rate": 1e-3, "discriminator_width": 8, "discriminator_layers": 1}
    return Gan(**{**small, "perceptual": 0.0, **changes})


def task(folder: Path, quantizer: Quantizer | None = None, **changes: Any) -> Task:
    return Task(
        model(quantizer),
        Few(),
        spec.seeds(42, "few"),
        Engine("cpu"),
        folder,
        **{"monitor": CodebookMonitor(), **changes},
    )


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], place: str = "") -> None:
    """Two states are equal, bit by bit."""
    assert ours.keys() == theirs.keys(), place
    for name, value in ours.items():
        if isinstance(value, dict):
            assert_same(value, theirs[name], f"{place}{name}.")
        elif isinstance(value, Tensor):
            assert torch.equal(value, theirs[name]), f"{place}{name}"
        elif name not in ("seconds", "history"):
            assert value == theirs[name], f"{place}{name}"


def test_hinge_and_non_saturating_losses_by_value() -> None:
    """Both games are the published formulas, of logits of any shape."""
    real, fake = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([-2.0, 0.0, 0.5, -0.5])
    assert losses.discriminator_loss(real, fake, "hinge") == pytest.approx(((0 + 0.5 + 2 + 0) / 4 + 3 / 4) / 2)
    assert losses.generator_loss(fake, "hinge") == pytest.approx(0.5)
    likely = [-math.log(1 / (1 + math.exp(-value))) for value in (2.0, 0.5, -1.0, 1.0)]
    unlikely = [-math.log(1 - 1 / (1 + math.exp(-value))) for value in (-2.0, 0.0, 0.5, -0.5)]
    expected = (sum(likely) / 4 + sum(unlikely) / 4) / 2
    assert losses.discriminator_loss(real, fake, "non_saturating") == pytest.approx(expected, rel=1e-6)
    fooled = [-math.log(1 / (1 + math.exp(-value))) for value in (-2.0, 0.0, 0.5, -0.5)]
    assert losses.generator_loss(fake, "non_saturating") == pytest.approx(sum(fooled) / 4, rel=1e-6)


def test_adaptive_weight_by_value_and_at_its_ends() -> None:
    """The weight is the ratio of the norms with 1e-4 below, is 0 without a first gradient, and never exceeds 1e4."""
    three_four, one = torch.tensor([[3.0, 4.0]]), torch.tensor([0.6, 0.8])
    assert losses.adaptive_weight(three_four, one) == pytest.approx(5 / (1 + 1e-4))
    assert losses.adaptive_weight(torch.zeros(2), one) == 0
    assert losses.adaptive_weight(three_four, torch.zeros(2)) == 1e4


def test_r1_by_value_and_its_gradient() -> None:
    """The penalty of a linear discriminator is its squared weights, differentiably; of a squared one, 4·x²."""
    x = torch.randn(3, 1, 4, 4, requires_grad=True)
    weight = torch.randn(1, 4, 4, requires_grad=True)
    penalty = losses.r1((x * weight).flatten(1).sum(1), x)
    assert float(penalty.detach()) == pytest.approx(float(weight.detach().square().sum()), rel=1e-6)
    penalty.backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 2 * weight.detach())
    of_squares = losses.r1(x.square().flatten(1).sum(1), x).detach()
    torch.testing.assert_close(of_squares, 4 * x.detach().square().flatten(1).sum(1).mean())


def test_learning_rates_by_value() -> None:
    """Warm-up is a line to the peak, a constant stays there, a cosine ends at its share of it."""
    assert [learning_rate(step, 100, 1.0, "constant", 4) for step in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    cosine = [learning_rate(step, 110, 1e-4, "cosine", 10, 0.5) for step in (9, 10, 60, 110)]
    assert cosine == pytest.approx([1e-4, 1e-4, 0.75e-4, 0.5e-4])
    assert learning_rate(35, 110, 1.0, "cosine", 10, 0.0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_the_rate_follows_the_batch_where_the_rule_says_so() -> None:
    """Taming's base rate is multiplied by the images of a batch: 64 at 4.5e-6 make 2.88e-4."""
    assert recipe(batch_size=64, learning_rate=4.5e-6, rate_rule="per_picture").rate.peak == pytest.approx(2.88e-4)
    assert recipe(batch_size=64, learning_rate=4.5e-6).rate.peak == 4.5e-6


def test_average_of_weights_by_value() -> None:
    """At update t the decay is (1 + t)/(10 + t), up to the given one; buffers are the current ones."""
    net = nn.BatchNorm1d(1)
    average = WeightAverage(net, 0.25)
    expected = 1.0
    for step, value in enumerate((2.0, 5.0, 7.0), 1):
        nn.init.constant_(net.weight, value)
        net.running_mean.fill_(value)  # type: ignore[union-attr, operator]
        average.update(step)
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    state = average.averaged_state()
    assert float(state["weight"]) == pytest.approx(expected)
    assert float(state["running_mean"]) == 7.0


def test_perceptual_losses_are_the_metric_and_have_gradients() -> None:
    """The loss is the package's LPIPS image by image, and places without any feature give no NaN."""
    torch.manual_seed(0)
    net = network("vgg", CPU)
    x, y = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(lpips_distance(net, x, y), net(x, y).flatten(), rtol=1e-4, atol=1e-6)
    grey = torch.zeros(1, 1, 16, 16, requires_grad=True)
    lpips_distance(net, grey, y[:1, :1, :16, :16]).sum().backward()
    assert grey.grad is not None
    assert grey.grad.abs().sum() > 0
    nothing = torch.zeros(1, 4, 2, 2, requires_grad=True)
    perceptual.unit_length(nothing).sum().backward()
    assert nothing.grad is not None
    assert nothing.grad.isfinite().all()


def test_semantic_mix_by_value() -> None:
    """SeQ-GAN's alpha goes from the deepest layer alone, at 1, to the sum of all, at 0."""
    torch.manual_seed(0)
    net, engine = network("vgg", CPU), Engine("cpu")
    x, y = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    each = layer_distances(net, x, y)
    assert each.shape == (5, 2)
    loss = {share: Reconstruction(engine, ReconstructionWeights(0, 0, 1, share))(x, y) for share in (0.0, 0.25, 1.0)}
    torch.testing.assert_close(loss[1.0], each[4])
    torch.testing.assert_close(loss[0.0], each.sum(0))
    torch.testing.assert_close(loss[0.25], 0.25 * each[4] + 0.75 * each.sum(0))


def test_discriminators_have_their_published_sizes() -> None:
    """PatchGAN and StyleGAN2's discriminator have the parameters, and the maps, of the released ones."""
    with torch.device("meta"):
        patch, style = Patch(3), StyleGAN(3, 256)
    assert sum(parameter.numel() for parameter in patch.parameters()) == 2_765_633
    assert sum(parameter.numel() for parameter in style.parameters()) == 28_864_129
    assert Patch(3, 8)(torch.zeros(2, 3, 64, 64)).shape == (2, 1, 6, 6)
    assert StyleGAN(1, 16, 8)(torch.zeros(3, 1, 16, 16)).shape == (3, 1)
    with pytest.raises(UsageError, match="not 28; use patch"):
        StyleGAN(1, 28)


def test_stylegan_sees_how_images_differ_within_their_groups() -> None:
    """The added channel is the standard deviation over the four images of a group, meaned over the map."""
    net = StyleGAN(1, 8, 4)
    x = torch.randn(8, 4, 4, 4)
    expected = torch.stack([part.var(0, correction=0).add(1e-8).sqrt().mean() for part in x.split(4)])
    deviation = net.deviation(x)
    assert deviation.shape == (8, 1, 4, 4)
    torch.testing.assert_close(deviation[:, 0, 0, 0], expected.repeat_interleave(4))


def plain_step(players: GanTrainer, x: Tensor, weight: float) -> tuple[list[Tensor], float]:
    """The model's gradients and the adversarial weight as taming-transformers computes them: one loss, whole graphs."""
    net, judge = players.model, players.discriminator
    reconstruction, out = net(x)
    error = (reconstruction - x).abs().mean()
    fooling = -judge(reconstruction).mean()
    last = net.backbone.last_layer()
    norms = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (error, fooling)]
    ratio = (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4).detach()
    loss = error + out.loss + weight * ratio * fooling
    return list(torch.autograd.grad(loss, list(net.parameters()))), float(weight * ratio)


@pytest.mark.parametrize("parts", [1, 3])
def test_an_update_has_the_gradients_of_the_one_loss(parts: int) -> None:
    """By way of the images, whole or in parts, every parameter gets the gradient that the whole graph gives it."""
    engine, x = Engine("cpu"), to_unit(Few().pixels("train")[:12])
    rules = GanConfig("hinge", 0.8, True, 0.0, 16, parts)
    net = model(VQ(16, 8))
    players = GanTrainer(net, Patch(1, 8, 1), rules, engine, AdamConfig(0.0))
    expected, weight = plain_step(players, x, 0.8)
    terms = players.update(x, Reconstruction(engine, ReconstructionWeights(1, 0, 0)), True, False)
    assert float(terms[3]) == pytest.approx(weight, rel=1e-4)
    for (name, parameter), gradient in zip(net.named_parameters(), expected, strict=True):
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("quantizer", [CVQ, VQEMA])
def test_parts_of_a_batch_are_one_batch_to_the_quantizer(quantizer: Any) -> None:
    """Codebooks that follow from all features of a batch move in parts as they do on the whole."""
    engine, x = Engine("cpu"), to_unit(Few().pixels("train")[:12])
    after = []
    for make in (FullBatch, lambda *args: MicroBatches(*args, 4)):
        torch.manual_seed(0)
        net = model(quantizer(16, 8)).train()
        torch.manual_seed(1)
        make(net, engine, x)
        after.append(net.quantizer.state_dict())
    for name, value in after[0].items():
        torch.testing.assert_close(value, after[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_the_discriminator_waits_for_its_start(tmp_path: Path) -> None:
    """Before ``start`` the discriminator is not trained and has no effect; from then on it is and does."""
    judges = {}
    for start in (3, 4, 5):
        trained = recipe(steps=4, start=start).fit(task(tmp_path / str(start)))
        heard = [epoch["weight"] for epoch in trained.history]  # epochs of 3 updates
        assert heard[0] == 0
        assert (heard[1] > 0) == (start < 4)
        judges[start] = torch.load(tmp_path / str(start) / "last.pt", weights_only=True)["discriminator"]
    assert_same(judges[4], judges[5])
    assert not torch.equal(judges[3]["net.0.weight"], judges[4]["net.0.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        {"start": 2, "ema": 0.9, "warmup": 3, "schedule": "cosine"},
        {"discriminator": "stylegan", "game": "non_saturating", "r1": 10.0, "r1_every": 2, "accumulate": 2},
    ],
)
def test_stopped_anywhere_it_resumes_exactly(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A training stopped every few updates ends with the state, to the last bit, of one that was never stopped."""
    whole = task(tmp_path / "whole")
    recipe(**changes).fit(whole)
    stops = 0
    while True:
        calls = itertools.count()
        part = task(tmp_path / "parts", stopped=lambda calls=calls: next(calls) % 3 == 1)
        try:
            recipe(**changes).fit(part)
            break
        except Interrupted:
            stops += 1
    assert stops >= 2  # of 6 updates
    assert_same(whole.model.state_dict(), part.model.state_dict())
    for file in ("last.pt", "best.pt"):
        states = [torch.load(tmp_path / name / file, weights_only=True) for name in ("whole", "parts")]
        assert_same(*states)
    assert all(0 < epoch["usage"] <= 100 for epoch in read_history(tmp_path / "parts"))  # equal in both, as all else


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the history in the last checkpoint."""
    return torch.load(folder / "last.pt", weights_only=True)["progress"]["history"]


def test_what_is_measured_is_the_average_where_there_is_one(tmp_path: Path) -> None:
    """With ``ema`` the averaged weights are left in the model and in best.pt, not those of the last update."""
    work = task(tmp_path)
    recipe(ema=0.9).fit(work)
    last, best = (torch.load(tmp_path / name, weights_only=True) for name in ("last.pt", "best.pt"))
    assert_same(best, work.model.state_dict())
    name = "backbone.decoder.conv_out.weight"
    assert torch.equal(best[name], last["average"][name])
    assert not torch.equal(best[name], last["model"][name])


@pytest.mark.integration
def test_it_learns_a_few_images_by_heart(tmp_path: Path) -> None:
    """Sixteen images seen again and again are reconstructed much better than at first, discriminator or not."""
    torch.manual_seed(3)
    work = task(tmp_path, VQEMA(64, 8))
    history = recipe(steps=80, subset=16, start=40).fit(work).history
    # The mean of the last ten, since single updates differ from processor to processor: 0.33 to 0.48 of the first.
    last = sum(record["reconstruction"] for record in history[-10:]) / 10
    assert last < 0.6 * history[0]["reconstruction"]
    assert history[-1]["weight"] > 0


def test_epochs_are_whole_batches(tmp_path: Path) -> None:
    """Two epochs of 48 images by 20 are four updates, of different images in each epoch's own order."""
    seen: list[int] = []

    class Counting(VQ):
        def forward(self, z: Tensor) -> Any:
            seen.append(len(z))
            return super().forward(z)

    recipe(steps=None, epochs=2, batch_size=20).fit(task(tmp_path, Counting(16, 8)))
    assert seen == [20] * 4


def test_images_are_read_ahead_and_varied_by_epoch_and_place(tmp_path: Path) -> None:
    """A split that is not in memory is read batch by batch, with its augmentation; a stop repeats none."""

    class Recorded:
        """Images that record which were read."""

        def __init__(self) -> None:
            self.read: list[tuple[list[int], int]] = []

        def __len__(self) -> int:
            return 48

        def augmented(self, index: Tensor, seed: int) -> Tensor:
            self.read.append((index.tolist(), seed))
            return Few().pixels("train")[index]

    class NotResident(Few):
        def __init__(self) -> None:
            self.images = Recorded()

        def pixels(self, split: Any) -> Any:
            return self.images

    whole, parts = NotResident(), NotResident()
    trained = task(tmp_path / "whole")
    trained.dataset = whole
    recipe().fit(trained)
    read = sorted(whole.images.read, key=lambda each: each[1])
    assert len(read) == 6
    assert sorted(each for index, _ in read for each in index) == sorted([*range(48), *range(48)])
    assert len({seed for _, seed in read}) == 2, "one an epoch"
    for stopped in (iter([False, False, False, True]).__next__, lambda: False):
        resumed = task(tmp_path / "parts", stopped=stopped)
        resumed.dataset = parts
        with contextlib.suppress(Interrupted):
            recipe().fit(resumed)
    assert_same(trained.model.state_dict(), resumed.model.state_dict())


def test_any_backbone_can_be_trained(tmp_path: Path) -> None:
    """A backbone without a last layer of its own is trained by its last weight."""
    net = Conv(1, 8, hidden=16, residual_hidden=8)
    assert net.last_layer() is net.decoder[-1].weight
    work = task(tmp_path)
    work.model = Autoencoder(net, VQ(16, 8))
    assert recipe().fit(work).history[-1]["weight"] > 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 1}, "give either steps or epochs"),
        ({"steps": None}, "give either steps or epochs"),
        ({"accumulate": 17}, "at most batch_size"),
        ({"ema": 1.0}, "below 1, not 1.0"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], sentence: str) -> None:
    """Contradictory arguments are refused before any training."""
    with pytest.raises(UsageError, match=sentence):
        recipe(**changes)


def test_trainings_that_fail_give_the_reason(tmp_path: Path) -> None:
    """Too few images, a loss that is not a number, and a second phase that a backbone lacks end in a sentence."""
    with pytest.raises(RunError, match="batch_size 64 is larger than the 48 training images"):
        recipe(batch_size=64).fit(task(tmp_path / "few"))
    broken = task(tmp_path / "nan")
    nn.init.constant_(broken.model.backbone.last_layer(), math.nan)
    with pytest.raises(RunError, match=r"the term 'reconstruction' of CVQ became nan at update 1 of 6, in epoch 1"):
        recipe().fit(broken)
    with pytest.raises(UsageError, match="VQGAN has no second phase"):
        recipe(steps=1, refine_steps=1).fit(task(tmp_path / "phase"))


def test_bfloat16_trains_with_losses_in_float32(tmp_path: Path) -> None:
    """Under bf16 the networks compute in bfloat16, while images, losses, weights and codebook stay float32."""
    engine, x = Engine("cpu", "bf16"), to_unit(Few().pixels("train")[:4])
    batch = FullBatch(model(), engine, x)
    with engine.autocast():
        assert F.conv2d(x, torch.ones(1, 1, 1, 1)).dtype == torch.bfloat16
    assert batch.images.dtype == batch.out.loss.dtype == torch.float32
    work = task(tmp_path)
    work.engine = engine
    recipe(precision="bf16").fit(work)
    assert all(value.dtype == torch.float32 for value in work.model.parameters())


@pytest.mark.integration
def test_two_ranks_are_one(tmp_path: Path) -> None:
    """Two processes with half of each batch end, bit for bit alike, where one process with the whole batch does.

    With the adaptive weight, R1 through batch norm, relocated codes and unequal halves; with groups of images and
    parts of a batch; and by the whole recipe, stopped by the first rank and taken up again.
    """
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, two_ranks_gan.__file__]
    ranks = [subprocess.Popen([*words, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)]
    try:
        alone = {kind: two_ranks_gan.train(kind, 0, 1) for kind in two_ranks_gan.KINDS}
        recipe = two_ranks_gan.run(ALONE, tmp_path / "alone")
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_same(first, second)
    assert first["recipe"]["stops"] == second["recipe"]["stops"] == recipe["stops"] == 1
    for ours, theirs in zip(first["recipe"]["losses"], recipe["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    for kind, whole in alone.items():
        assert first[kind].keys() == whole.keys()
        for name, value in whole.items():
            # rounding grows through three updates; a part that is weighed wrongly is off by a tenth
            assert torch.allclose(first[kind][name].double(), value.double(), rtol=1e-2, atol=1e-4), f"{kind}: {name}"
