"""The autoregressive prior: its transformer, its sampling and its training; and what second stages keep in a file."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.recipes.test_autoencoder import Few, every_third
from tests.support.threads import Thread, two_ranks
from tests.support.tiny_suite import vqbench
from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.errors import AssetError, Interrupted, RunError, StoreError, UsageError
from vqbench.planning import loading
from vqbench.quantizer import Quantizer
from vqbench.quantizers.identity import Identity
from vqbench.quantizers.residual import Residual
from vqbench.quantizers.vq import VQ
from vqbench.recipe import Task
from vqbench.recipes.autoregressive import Autoregressive
from vqbench.recipes.diffusion import Diffusion
from vqbench.store.results import ResultStore
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine
from vqbench.training.latents import cache
from vqbench.training.latents.prior import Prior, drawn
from vqbench.training.latents.transformer import CausalTransformer, Seen

SUITE = """
name: with_prior
train: {clean: {epochs: 1, batch_size: 64, learning_rate: 1e-3}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 64, dim: 8}
quantizers: [{vq: {}}]
generate: {autoregressive: {steps: 4, batch_size: 8, width: 16, layers: 1, heads: 2}}
samples: {count: 6, reference: test, temperature: 0.9}
metrics: [psnr, copies]
table: {columns: [psnr, copies]}
"""


def autoencoder(quantizer: Quantizer | None = None) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(Conv(1, 8, hidden=16, residual_hidden=8), quantizer or VQ(32, 8))


AS_IT_IS = SimpleNamespace(encode=lambda x: x, shape=(1, 28, 28), first_digest=torch.zeros(32, dtype=torch.uint8))


def recipe(**changes: Any) -> Autoregressive:
    small = {"steps": 8, "batch_size": 64, "learning_rate": 1e-3, "width": 16, "layers": 2, "heads": 2}
    return Autoregressive(**{**small, **changes})


def task(folder: Path, **changes: Any) -> Task:
    return Task(
        autoencoder(),
        Few(),
        spec.seeds(42, "few"),
        Engine("cpu"),
        folder,
        **{"monitor": CodebookMonitor(), **changes},
    )


def transformer(tokens: int = 9, places: int = 12, outputs: int = 8) -> CausalTransformer:
    torch.manual_seed(0)
    net = CausalTransformer(tokens, places, outputs, width=16, layers=2, heads=2, dropout=0.5).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # far from the start, where every score is about 0
    return net


# Transformer and sampling ---------------------------------------------------------------------------------------------


def test_place_by_place_is_the_whole() -> None:
    """Scores of one place after the other, from what the earlier ones left, are those of all places at once."""
    net, tokens, seen = transformer(), torch.randint(9, (3, 12)), Seen()
    whole = net(tokens)
    for place in range(12):
        scores, seen = net.step(tokens[:, place], place, seen)
        torch.testing.assert_close(scores, whole[:, place], rtol=1e-4, atol=1e-5)


def test_no_place_sees_later_ones() -> None:
    """A change of one token moves no score before it, and those from it on."""
    net, tokens = transformer(), torch.randint(9, (1, 12))
    other = tokens.clone()
    other[0, 5] = (other[0, 5] + 1) % 9
    moved = (net(tokens) - net(other)).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False] * 5 + [True] * 7


def test_codes_are_drawn_by_their_probability() -> None:
    """Evenly spread numbers draw every code as often as its probability says, sharper at a low temperature; the ends of
    the range draw existing codes."""
    scores = torch.tensor([1.0, -0.5, 0.3, -20.0])
    even = (torch.arange(20_000) + 0.5) / 20_000
    for temperature in (1.0, 0.5):
        shares = torch.bincount(drawn(scores.expand(20_000, 4), temperature, even), minlength=4) / 20_000
        torch.testing.assert_close(shares, (scores / temperature).softmax(0), rtol=0, atol=1e-4)
    assert drawn(scores.expand(2, 4), 1.0, torch.tensor([0.0, 1 - 2**-24])).tolist() == [0, 2]


def test_each_code_is_predicted_from_those_before_it() -> None:
    """The first code of a map follows a start token; every other follows the code before it, by its level."""
    prior = Prior(transformer(), Autoencoder(Conv(1, 4, hidden=16, residual_hidden=8), VQ(10, 4)), (2, 1, 2))
    codes = torch.tensor([[3, 7, 5, 1], [0, 0, 0, 0]])  # (B, 2·1·2): levels 0, 1, 0, 1
    assert prior.before(codes).tolist() == [[20, 3, 17, 5], [20, 0, 10, 0]]


@pytest.mark.parametrize("quantizer", [VQ(32, 8), Residual(32, 8, depth=2)], ids=["vq", "residual"])
def test_a_sample_is_its_seed_s_alone(quantizer: Quantizer) -> None:
    """An image is the same whatever else is sampled with it, and is the image of codes."""
    prior = recipe().generator(autoencoder(quantizer), 1, 28)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    together = prior.eval().sample([1, 2, 3], temperature=1.0)
    assert together.shape == (3, 1, 28, 28)
    torch.testing.assert_close(together[2:], prior.sample([3], temperature=1.0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1])


class Alternating(torch.nn.Module):
    """A net that always predicts c + 1 after code c, and 5 as the first code."""

    def __init__(self) -> None:
        super().__init__()
        self.any = torch.nn.Parameter(torch.zeros(()))

    def step(self, tokens: Tensor, place: int, seen: Seen) -> tuple[Tensor, Seen]:
        following = torch.where(tokens == 32, 5, (tokens + 1) % 32)
        return 50 * torch.nn.functional.one_hot(following, 32).float(), seen


def test_what_is_sampled_is_decoded_in_its_order() -> None:
    """A net that counts gives the map 5, 6, 7, ..., line by line, and its image is the decoder's of that map."""
    first = autoencoder()
    prior = Prior(Alternating(), first, (7, 7, 1))  # type: ignore[arg-type]
    codes = ((torch.arange(49) + 5) % 32).view(1, 7, 7, 1)
    with torch.no_grad():
        expected = first.eval().backbone.decode(first.quantizer.decode(codes))
    torch.testing.assert_close(prior.sample([4], temperature=1.0), expected)


# Training -------------------------------------------------------------------------------------------------------------


def test_training_learns_and_leaves_the_first_stage(tmp_path: Path) -> None:
    """The loss starts at that of even codes, log K, falls well below, and no weight of the first stage moves."""
    work = task(tmp_path)
    before = {name: value.clone() for name, value in work.model.state_dict().items()}
    trained = recipe(steps=60, learning_rate=1e-2, dropout=0.0).fit(work)
    first = recipe(steps=1, learning_rate=1e-9).fit(task(tmp_path / "first"))
    assert first.history[0]["loss"] == pytest.approx(math.log(32), rel=0.02)
    assert trained.history[-1]["loss"] < 0.8 * math.log(32)
    assert all(torch.equal(value, before[name]) for name, value in work.model.state_dict().items())


@pytest.mark.parametrize("flips", [False, True])
def test_stopped_anywhere_it_resumes_exactly(tmp_path: Path, flips: bool) -> None:
    """With dropout too, a training that is stopped every few updates ends with the weights of one that was not."""
    recipe(flips=flips).fit(task(tmp_path / "whole"))
    assert stopped_often(recipe(flips=flips), tmp_path / "parts") == 3  # of 8 updates and one piece of codes
    same(tmp_path / "whole", tmp_path / "parts")


def stopped_often(one: Any, folder: Path) -> int:
    """Train with a stop at every third poll; return how many stops there were."""
    for stops in itertools.count():
        try:
            one.fit(task(folder, stopped=every_third(iter(range(100)))))
        except Interrupted:
            continue
        return stops
    raise AssertionError


def same(whole: Path, parts: Path) -> None:
    one, other = (torch.load(each / "best.pt", weights_only=True) for each in (whole, parts))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("stage", ["autoregressive", "diffusion"])
def test_what_is_too_large_for_memory_is_read_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Rows in a file, which was written with stops between its pieces, train the weights of rows in memory; the file
    has all of them, and is gone at the end."""
    if stage == "diffusion":
        pytest.importorskip("diffusers", reason="the extra `generate` is not installed")
    small = {"channels": 8, "multipliers": "1x2", "attention": "2", "blocks": 1, "scaling": "channel"}
    one = recipe(flips=True) if stage == "autoregressive" else Diffusion(steps=8, batch_size=64, flips=True, **small)
    one.fit(task(tmp_path / "memory"))
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    monkeypatch.setattr(cache, "PIECE", 50)
    sizes = []

    def stopped() -> bool:
        part = next((tmp_path / "file").glob("encoded-*.part"), None)
        sizes.append(part.stat().st_size if part else None)
        if part and len(sizes) == 2:  # a piece that was being written when the power went
            with part.open("ab") as file:
                file.write(b"half")
        return len(sizes) % 2 == 0 and len(sizes) < 5

    for _ in range(3):
        try:
            one.fit(task(tmp_path / "file", stopped=stopped))
            break
        except Interrupted:
            continue
    if stage == "autoregressive":
        same(tmp_path / "memory", tmp_path / "file")
    else:
        close(tmp_path / "memory", tmp_path / "file")
    pieces = [size for size in sizes if size]
    assert [size // pieces[0] for size in pieces] == [1, 2, 3, 4, 5, 6]
    assert not list((tmp_path / "file").glob("encoded-*"))


def test_ranks_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks that take turns with three pieces write the rows of one, in order, and both read them."""
    monkeypatch.setattr(cache, "PIECE", 30)
    images = Few().pixels("train")[:70]
    whole = cache.LatentEncoder(task(tmp_path), images, 70, AS_IT_IS, mirrored=True).rows()
    monkeypatch.setattr(cache, "IN_MEMORY", 0)

    def part(rank: Thread) -> cache.LatentCache:
        work = task(tmp_path / "file")
        work.engine.group = rank
        return cache.LatentEncoder(work, images, 70, AS_IT_IS, mirrored=True).rows()

    for rows in two_ranks(part):
        np.testing.assert_array_equal(rows.values, whole.values)


class Broken:
    """Images of which the last cannot be read."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: Tensor) -> Tensor:
        if len(self) - 1 in which:
            raise AssetError("the last image is gone")
        return self.images[which]


def test_an_image_that_one_rank_cannot_read_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one rank fails at its piece, the others do not wait for it."""
    monkeypatch.setattr(cache, "PIECE", 35)
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    images = Broken(Few().pixels("train")[:70])  # the first rank's half is sound

    def part(rank: Thread) -> str:
        work = task(tmp_path)
        work.engine.group = rank
        with pytest.raises(AssetError) as raised:
            cache.LatentEncoder(work, images, 70, AS_IT_IS, mirrored=True).rows()  # type: ignore[arg-type]
        return str(raised.value)

    assert two_ranks(part) == ["the last image is gone"] * 2


def test_a_second_stage_is_of_one_first_stage(tmp_path: Path) -> None:
    """On an autoencoder that was trained again, no training resumes and no generator is loaded."""
    with pytest.raises(Interrupted):
        recipe().fit(task(tmp_path, stopped=every_third(iter(range(100)))))
    work = task(tmp_path)
    with torch.no_grad():
        next(work.model.parameters()).mul_(1.001)
    with pytest.raises(StoreError, match="trained on other weights of its first stage"):
        recipe().fit(work)
    recipe().fit(task(tmp_path))
    weights = torch.load(tmp_path / "best.pt", weights_only=True)
    recipe().generator(autoencoder(), 1, 28).load_state_dict(weights)
    with pytest.raises(StoreError, match="delete the second stage's folder"):
        recipe().generator(work.model, 1, 28).load_state_dict(weights)


def close(whole: Path, parts: Path) -> None:
    one, other = (torch.load(each / "best.pt", weights_only=True) for each in (whole, parts))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


def test_a_finished_training_encodes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that was stopped during evaluation returns its weights at once: its latents are deleted by then."""
    recipe().fit(task(tmp_path))
    weights = torch.load(tmp_path / "best.pt", weights_only=True)
    (tmp_path / "best.pt").unlink()
    monkeypatch.setattr("vqbench.training.latents.recipe.LatentEncoder", None)
    recipe().fit(task(tmp_path))
    for name, value in torch.load(tmp_path / "best.pt", weights_only=True).items():
        assert torch.equal(value, weights[name]), name


def test_moments_are_those_of_all_rows() -> None:
    """Mean and deviation, of all numbers and by channel, are numpy's of all rows at once."""
    values = torch.randn(2100, 3, 2, 2) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1) + 2
    rows = cache.LatentCache(values, False, values.device)
    for by_channel, axes in ((False, (0, 1, 2, 3)), (True, (0, 2, 3))):
        mean, deviation = rows.moments(by_channel)
        np.testing.assert_allclose(mean, values.double().numpy().mean(axes), rtol=1e-5)
        np.testing.assert_allclose(deviation, values.double().numpy().std(axes), rtol=1e-5)


def test_rows_are_those_of_images_and_their_mirror_images(tmp_path: Path) -> None:
    """Each image has its own latents or, at random, those of its mirror image."""
    work = task(tmp_path)
    images = work.dataset.pixels("train")
    rows = cache.LatentEncoder(work, images, 70, AS_IT_IS, mirrored=True).rows()
    torch.manual_seed(0)
    drawn_rows = rows.draw(torch.tensor([3, 69] * 20))
    for place, image in ((0, images[3]), (1, images[69])):
        plain = image.float() / 127.5 - 1
        kinds = [torch.allclose(row, plain) for row in drawn_rows[place::2]]
        mirrored = [torch.allclose(row, plain.flip(-1)) for row in drawn_rows[place::2]]
        assert any(kinds)
        assert any(mirrored)
        assert all(a or b for a, b in zip(kinds, mirrored, strict=True))


def test_what_has_no_codes_has_no_prior() -> None:
    """Without a quantizer, or with a width that the heads do not divide, a sentence says what to do."""
    with pytest.raises(RunError, match="there are no codes to predict"):
        recipe().generator(autoencoder(Identity(1, 8)), 1, 28)
    with pytest.raises(UsageError, match="15 channels are not divided by 2 heads"):
        recipe(width=15)


def test_both_stages_from_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` trains a prior, names its numbers by the temperature, and `sample` makes the run's own images; it is not
    sampled by what a diffusion is sampled by."""
    path, store = tmp_path / "with_prior.yaml", tmp_path / "runs"
    path.write_text(SUITE)
    assert vqbench("run", path, "--store", store, "--jobs", 0, "--quiet") == 0
    assert "6 samples (temperature 0.9) against the test split" in capsys.readouterr().out
    _, second = loading.load(path, []).runs()
    record = ResultStore(store).read(second)
    assert record is not None
    assert list(record.values) == ["clean:n=6,reference=test,temperature=0.9"]
    words = ("sample", second.key, "--store", store, "-n", 6, "-o", tmp_path / "six.png")
    assert vqbench(*words, "--temperature", 0.9) == 0
    assert (tmp_path / "six.png").read_bytes() == (ResultStore(store).folder(second) / "samples.png").read_bytes()
    capsys.readouterr()
    assert vqbench(*words, "--eta", 1) == 2
    assert "--eta: autoregressive is not sampled by it, but by temperature" in capsys.readouterr().err
