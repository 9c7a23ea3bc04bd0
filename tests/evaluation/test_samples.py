"""What is made of a generator's samples: how they are kept, and what they are held against, piece by piece."""

from __future__ import annotations

import errno
import io
import math
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tests.support.threads import Thread, two_ranks
from vqbench import protocol
from vqbench.datasets.photos import Photos
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import Interrupted, RunError, Unwritable
from vqbench.evaluation import sample_pieces
from vqbench.evaluation import samples as generation
from vqbench.execution import rank_task
from vqbench.execution.settings import RunSettings
from vqbench.functional import neighbours
from vqbench.loading import resident
from vqbench.metric import TOGETHER, Context, SampleMetric, Samples
from vqbench.metrics import density
from vqbench.metrics.copies import Copies
from vqbench.metrics.coverage import Coverage
from vqbench.metrics.density import Density
from vqbench.metrics.precision import Precision
from vqbench.metrics.recall import Recall
from vqbench.networks import inception
from vqbench.recipe import SecondStage
from vqbench.store.sampling import Sampling

CPU = torch.device("cpu")
ONE_STEP = {"steps": 1, "eta": 0}
NOTHING = torch.zeros(0, 1, 2, 2, dtype=torch.uint8)


def metric(cls: Callable[[Context], Any]) -> SampleMetric:
    return cls(Context(protocol.MEASURE["clean"], "0" * 64, None, None, CPU))


def of_features(made: Tensor, real: Tensor) -> Samples:
    return Samples(NOTHING, NOTHING, lambda: made, lambda: real)


# Density and coverage -------------------------------------------------------------------------------------------------


def by_hand(made: Tensor, real: Tensor, k: int = 5) -> tuple[float, float]:
    """Density and coverage from whole matrices of distances, in numpy."""
    y, x = made.double().numpy(), real.double().numpy()
    among = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    np.fill_diagonal(among, np.inf)
    radii = np.sort(among, 1)[:, k - 1]
    inside = np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1)) < radii[:, None]
    return inside.sum() / (k * len(y)), inside.any(1).mean()


@pytest.mark.parametrize(("made", "real"), [(30, 50), (240, 130), (1, 6)])
def test_density_and_coverage_by_hand(made: int, real: int) -> None:
    """Both are what their formulas give from whole matrices, also of more images than a piece has."""
    torch.manual_seed(0)
    samples = of_features(torch.randn(made, 3) * 0.7, torch.randn(real, 3) * 1.5)
    expected = by_hand(samples.features, samples.references)
    assert metric(Density).measure(samples) == pytest.approx(expected[0], rel=1e-12)
    assert metric(Coverage).measure(samples) == pytest.approx(expected[1], rel=1e-12)


def test_density_and_coverage_of_the_references_themselves() -> None:
    """Of identical sets every reference is covered; its ball holds itself and the four that are strictly nearer."""
    torch.manual_seed(0)
    real = torch.randn(150, 8)
    samples = of_features(real.clone(), real)
    assert metric(Coverage).measure(samples) == 1
    assert metric(Density).measure(samples) == 1


def test_density_and_coverage_of_sets_far_apart() -> None:
    """Samples in no ball have density and coverage 0; all at one reference have a high density and cover little."""
    torch.manual_seed(0)
    real = torch.randn(200, 2)
    far, same = of_features(real + 100, real), of_features(real[:1].expand(60, 2) + 1e-4, real)
    assert (metric(Density).measure(far), metric(Coverage).measure(far)) == (0, 0)
    assert metric(Density).measure(same) == pytest.approx(by_hand(same.features, real)[0])
    assert metric(Coverage).measure(same) < 0.1


def test_precision_does_not_rise_with_the_references() -> None:
    """A sample of the references' own distribution lies in three of their balls on average, of 100 as of 1,600, and the
    share that lies in any is the same."""
    torch.manual_seed(0)
    found = []
    for count in (100, 400, 1600):
        made, real = torch.randn(1000, 16), torch.randn(count, 16)
        radii = torch.cdist(real, real).sort(1).values[:, 3]
        assert float((torch.cdist(made, real) <= radii).double().sum(1).mean()) == pytest.approx(3, rel=0.1)
        found.append(metric(Precision).measure(of_features(made, real)))
    assert found == pytest.approx([0.79] * 3, abs=0.04)


def test_what_lies_on_a_ball_is_outside() -> None:
    """A sample at exactly the fifth neighbour's distance does not count, and a reference's six copies have no ball."""
    line = torch.arange(7.0)[:, None]  # the ball of the first has radius 5, and of those in the middle less
    on_it = of_features(torch.tensor([[-5.0]]), line)
    assert (metric(Density).measure(on_it), metric(Coverage).measure(on_it)) == (0, 0)
    within = of_features(torch.tensor([[-4.5]]), line)
    assert metric(Density).measure(within) == pytest.approx(1 / 5)
    copies = of_features(torch.full((3, 2), 0.1), torch.full((6, 2), 0.1))
    assert (metric(Density).measure(copies), metric(Coverage).measure(copies)) == (0, 0)


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Density and coverage do not depend on how many images a piece has, and no larger one is compared at once."""
    torch.manual_seed(0)
    made, real = torch.randn(45, 16), torch.randn(61, 16)
    compared: list[int] = []
    distances = neighbours.distances

    def watched(some: Tensor, others: Tensor) -> Tensor:
        compared.append(len(others))
        return distances(some, others)

    values = []
    for size in (1000, 7):
        monkeypatch.setattr(density, "TOGETHER", size)
        for module in (neighbours, density):
            monkeypatch.setattr(module, "distances", watched)
        values.append(density.density_and_coverage(of_features(made, real), CPU))
        assert max(compared) == min(size, 61)
        compared.clear()
    assert values[0] == values[1]


@pytest.mark.parametrize(("made", "real"), [(10, 5), (0, 10)])
def test_too_few_images_for_density(made: int, real: int) -> None:
    """As many references as neighbours, or no sample at all, is an error that says how many there are."""
    samples = of_features(torch.zeros(made, 4), torch.zeros(real, 4))
    for cls in (Density, Coverage):
        with pytest.raises(RunError, match=f"more than 5 references and at least one sample, not {real} and {made}"):
            metric(cls).measure(samples)


@pytest.mark.parametrize(
    ("module", "function", "pair"),
    [
        ("density", "density_and_coverage", (Density, Coverage)),
        ("precision", "precision_and_recall", (Precision, Recall)),
    ],
)
def test_a_pair_is_computed_once(
    module: str, function: str, pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two metrics of one computation share it for the same samples, and not for others."""
    calls: list[Samples] = []

    def counted(samples: Samples, *_: object) -> tuple[float, float]:
        calls.append(samples)
        return 1.0, 2.0

    for name in ("vqbench.metrics." + module, pair[1].__module__):
        monkeypatch.setattr(f"{name}.{function}", counted)
    one, two = of_features(NOTHING, NOTHING), of_features(NOTHING, NOTHING)
    assert [metric(cls).measure(one) for cls in pair] == [1.0, 2.0]
    assert len(calls) == 1
    assert metric(pair[0]).measure(two) == 1.0
    assert len(calls) == 2


def test_equal_points_are_at_no_distance() -> None:
    """Copies of wide points are at distance 0 exactly, and a distance is the same from either end."""
    wide = torch.randn(40, 2048, generator=torch.Generator().manual_seed(0)) + 5
    assert neighbours.distances(wide, wide.clone()).diagonal().tolist() == [0.0] * 40
    assert torch.equal(neighbours.distances(wide[:7], wide), neighbours.distances(wide, wide[:7]).T)


def test_neighbours_by_pieces() -> None:
    """The nearest point, the first of equally near ones, and the k-th distance are those of all points at once."""
    points = torch.randint(0, 3, (90, 2), generator=torch.Generator().manual_seed(0)).float()
    some = points[40:60] + torch.tensor([0.0, 0.5])
    whole = neighbours.distances(some, points)
    for size in (90, 8):
        least, places = neighbours.nearest(some, points.split(size))
        assert torch.equal(least, whole.min(1).values)
        assert places.tolist() == [row.tolist().index(row.min()) for row in whole]
        for k in (1, 2, 11):
            assert torch.equal(neighbours.kth_distance(some, points.split(size), k), whole.sort(1).values[:, k - 1])


def test_neighbours_in_views_and_but_for_one() -> None:
    """Of points in two views the nearer one counts, and a point that is left out is no neighbour, in whatever piece."""
    draw = torch.Generator().manual_seed(0)
    points = torch.randint(0, 20, (90, 2), generator=draw).float()
    views = torch.randint(0, 20, (2, 20, 2), generator=draw).float()
    whole = torch.minimum(*(neighbours.distances(view, points) for view in views))
    but = whole.argmin(1)
    without = whole.clone()
    without[range(20), but] = torch.inf
    assert not torch.equal(whole.min(1).values, without.min(1).values)
    for size in (90, 8):
        for left_out, expected in ((None, whole), (but, without)):
            least, places = neighbours.nearest(views, points.split(size), left_out)
            assert torch.equal(least, expected.min(1).values)
            assert places.tolist() == [row.tolist().index(row.min()) for row in expected]


# Training images that are read piece by piece -----------------------------------------------------------------------


class Watched:
    """Images that are read piece by piece, which note how many they were asked for at once, and up to which."""

    def __init__(self, pictures: Tensor) -> None:
        self.images = pictures
        self.asked: list[int] = []
        self.last = -1

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        positions = torch.arange(len(self))[which]
        self.asked.append(len(positions))
        self.last = max(self.last, int(positions.max()))
        return self.images[positions]

    def augmented(self, which: Tensor, seed: int) -> Tensor:
        raise AssertionError("samples are held against images as they are")


def smooth(count: int, seed: int, side: int = 40) -> Tensor:
    """Images (count, 3, side, side) uint8 of some colours that run into each other."""
    few = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(few, size=(side, side), mode="bilinear").round().to(torch.uint8)


def copies_by_hand(made: Tensor, training: Tensor, mirrored: bool = False) -> float:
    """Copies from whole matrices of distances at 32x32, in percent; it is the training images that are mirrored."""

    def small(levels: Tensor) -> np.ndarray:
        return F.adaptive_avg_pool2d(levels.double(), min(32, levels.shape[-1])).numpy()

    def distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.stack([np.sqrt(((others - each) ** 2).sum((1, 2, 3))) for each in some])

    originals = small(training)
    views = [originals, originals[..., ::-1]] if mirrored else [originals]
    apart = np.minimum.reduce([distances(small(made), view) for view in views])
    nearest = apart.argmin(1)
    among = np.minimum.reduce([distances(originals, view) for view in views])
    np.fill_diagonal(among, np.inf)
    return 100 * float((apart.min(1) < among.min(1)[nearest]).mean())


def half_copied(training: Tensor, count: int) -> Tensor:
    """Samples, half of them training images with a grain of noise."""
    grain = torch.randint(0, 3, (count // 2, *training.shape[1:]), dtype=torch.uint8)
    copied = training[torch.randint(len(training), (count // 2,))] // 4 * 4 + grain
    return torch.cat([copied, smooth(count - count // 2, 7, training.shape[-1])])


@pytest.mark.parametrize("side", [20, 40])
def test_copies_by_pieces(side: int) -> None:
    """Copies are what whole matrices give, of images in memory and of those read by pieces."""
    torch.manual_seed(0)
    training = smooth(330, 1, side)
    made = half_copied(training, 120)
    for mirrored in (False, True):
        expected = copies_by_hand(made, training, mirrored)
        assert 50 <= expected < 100
        watched = Watched(training)
        for pictures in (training, watched):
            assert metric(Copies).measure(Samples(made, pictures, Tensor, Tensor, mirrored)) == expected
        assert max(watched.asked) == TOGETHER
        assert sum(watched.asked) <= 2 * 330 + 120  # all images twice, and those that are a sample's nearest


def symmetric(pictures: Tensor) -> Tensor:
    """Images of which the right half is the left one mirrored."""
    left = pictures[..., : pictures.shape[-1] // 2]
    return torch.cat([left, left.flip(-1)], -1)


@pytest.mark.parametrize("side", [20, 40])
def test_mirrored_copies_are_found_with_flips(side: int) -> None:
    """A generator that repeats training images mirrored makes copies if it learned from mirror images, else not as
    many; with flips, copies that are not mirrored count as before."""
    torch.manual_seed(0)
    training = smooth(330, 1, side)
    copied = half_copied(training, 120)[:60]

    def share(made: Tensor, mirrored: bool) -> float:
        found = metric(Copies).measure(Samples(made, training, Tensor, Tensor, mirrored))
        assert found == copies_by_hand(made, training, mirrored)
        return found

    assert share(copied.flip(-1), True) == share(copied, True) == share(copied, False) == 100
    assert share(copied.flip(-1), False) < 60


def test_flips_change_nothing_among_symmetric_images() -> None:
    """A symmetric training image is its own mirror image, which is no other image: copies of it are copies."""
    torch.manual_seed(0)
    training = symmetric(smooth(330, 1, 20))
    made = half_copied(training, 120)
    found = [metric(Copies).measure(Samples(made, training, Tensor, Tensor, mirrored)) for mirrored in (False, True)]
    assert found == [copies_by_hand(made, training, mirrored) for mirrored in (False, True)]
    assert found[0] == found[1] > 50
    assert metric(Copies).measure(Samples(training[:60], training, Tensor, Tensor, True)) == 100


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_is_there_twice_is_not_copied(mirrored: bool) -> None:
    """A copy of a training image counts for none where the same image is in the split a second time or, with flips,
    its mirror image is."""
    training = smooth(120, 1, 20)
    twice = torch.cat([training, training[:30], training[30:60].flip(-1)])
    samples = [Samples(training[part], twice, Tensor, Tensor, mirrored) for part in (slice(30), slice(30, 60))]
    assert metric(Copies).measure(samples[0]) == 0
    assert metric(Copies).measure(samples[1]) == (0 if mirrored else 100)
    assert metric(Copies).measure(Samples(training[60:], twice, Tensor, Tensor, mirrored)) == 100


def test_the_nearest_is_shown_as_it_is_nearest(tmp_path: Path) -> None:
    """With flips, the image below a sample is the training image of which it or its mirror image is nearest, turned
    to where that is so; without, none is mirrored."""
    torch.manual_seed(0)
    training = smooth(330, 1)
    made = half_copied(training, 32)[:16]
    made[::2] = made[::2].flip(-1)
    differences = [made.float().flatten(1)[:, None] - view.float().flatten(1) for view in (training, training.flip(-1))]
    apart = torch.stack([each.square().sum(-1) for each in differences])  # (2, 16, 330)
    places = apart.amin(0).argmin(1)
    mirrored = apart[1, range(16), places] < apart[0, range(16), places]
    assert mirrored.tolist() == [True, False] * 8
    for pictures in (training, Watched(training)):
        assert torch.equal(generation.nearest(made, pictures, mirrored=True), places)
        generation.draw(tmp_path, made, pictures, mirrored=True)
        shown = torch.where(mirrored[:, None, None, None], training.flip(-1)[places], training[places])
        expected = generation.grid(torch.cat([made[:8], shown[:8], made[8:], shown[8:]]))
        assert (tmp_path / "neighbours.png").read_bytes() == expected
        generation.draw(tmp_path, made, pictures)
        below = training[generation.nearest(made, training)]
        expected = generation.grid(torch.cat([made[:8], below[:8], made[8:], below[8:]]))
        assert (tmp_path / "neighbours.png").read_bytes() == expected


def test_what_was_learned_from_reaches_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies and the images drawn know of mirror images from the evaluator, and that from the run's recipe."""
    seen: list[Samples] = []
    drawn: list[bool] = []
    monkeypatch.setattr(Copies, "measure", lambda self, samples: seen.append(samples) or 0.0)
    monkeypatch.setattr(generation, "draw", lambda *args: drawn.append(args[4]))
    for mirrored in (False, True):
        measure(tmp_path, Maker(), mirrored=mirrored)
    assert [samples.mirrored for samples in seen] == drawn == [False, True]

    calls: list[dict[str, Any]] = []
    evaluator = SimpleNamespace(measure=lambda *_, **named: calls.append(named))
    monkeypatch.setattr(generation, "SampleEvaluator", lambda *_: evaluator)
    listener: Any = SimpleNamespace(run_started=lambda *_: None)
    engine: Any = SimpleNamespace(device=CPU)
    run: Any = SimpleNamespace(seed=1, dataset=SimpleNamespace(name="few"))
    task = rank_task.RankTask(run, tmp_path, {}, True)
    worker = rank_task.RankWorker(RunSettings("cpu"), listener, lambda: False)
    for recipe in (SimpleNamespace(mirrored=True, subset=7), SecondStage()):
        result = rank_task.RankResult(None)
        worker._evaluate_samples(task, recipe, engine, Split(None), None, result)  # type: ignore[arg-type]
    assert [(each["mirrored"], each["trained_on"]) for each in calls] == [(True, 7), (False, None)]


def test_a_subset_is_all_that_is_read() -> None:
    """Of a generator that learned from the first images alone, no later one is read, and numbers are of the first."""
    torch.manual_seed(0)
    training = smooth(330, 1)
    made = half_copied(training, 60)
    watched = Watched(training)
    some = generation.first(watched, 210)
    assert watched.asked == []
    assert len(some) == 210
    assert metric(Copies).measure(Samples(made, some, Tensor, Tensor)) == copies_by_hand(made, training[:210])
    assert torch.equal(generation.nearest(made, some), generation.nearest(made, training[:210]))
    assert torch.equal(some[torch.tensor([209, 3])], training[[209, 3]])
    assert torch.equal(some[200:], training[200:210])
    assert watched.last == 209
    with pytest.raises(IndexError):
        some[torch.tensor([210])]
    assert len(generation.first(watched, 1000)) == 330
    assert generation.first(watched, None) is watched
    assert len(generation.first(training, 210)) == 210


def test_the_nearest_is_found_by_pieces() -> None:
    """The training image below a sample is that of all at once, and never is more than a piece read."""
    torch.manual_seed(0)
    training = smooth(330, 1)
    made, watched = half_copied(training, 16), Watched(training)
    expected = (made.float().flatten(1)[:, None] - training.float().flatten(1)[None]).square().sum(-1).argmin(1)
    assert torch.equal(generation.nearest(made, training), expected)
    assert torch.equal(generation.nearest(made, watched), expected)
    assert max(watched.asked) == generation.TOGETHER


def test_copies_of_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of photographs is gone through as its images in memory are, and its images are drawn."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    for name, pictures in (("train", smooth(130, 1, 48)), ("test", smooth(5, 2, 48))):
        (tmp_path / name).mkdir()
        for number, image in enumerate(pictures):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{number:03}.png")
    photographs = Photos(folder=str(tmp_path), size=40)
    training = photographs.pixels("train")
    torch.manual_seed(0)
    held = resident(training)
    made = half_copied(held, 40)
    expected = copies_by_hand(made, held)
    assert metric(Copies).measure(Samples(made, training, Tensor, Tensor)) == expected
    generation.draw(tmp_path / "read", made, training)
    generation.draw(tmp_path / "held", made, held)
    for name in ("samples.png", "neighbours.png"):
        assert (tmp_path / "read" / name).read_bytes() == (tmp_path / "held" / name).read_bytes()


# Features of the references -------------------------------------------------------------------------------------------


class Split:
    """A data set whose splits are ``images``."""

    def __init__(self, pictures: Any) -> None:
        self.images = pictures

    def pixels(self, split: str) -> Any:
        return self.images

    def digest(self, split: str) -> str:
        return "0" * 64


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of Inception's features, the levels of images of 3x8x8; how many were shown to the network at once."""
    shown: list[int] = []

    def features(_: Any, pictures: Tensor, resize: int | None) -> Tensor:
        shown.append(len(pictures))
        return F.pad(pictures.flatten(1), (0, 2048 - 192))

    monkeypatch.setattr(inception, "network", lambda device: None)
    monkeypatch.setattr(inception, "features", features)
    monkeypatch.setattr(inception, "features_path", lambda *_: tmp_path / "features.npy")
    return shown


def test_references_are_decoded_ahead(shown: list[int]) -> None:
    """Features of references are in order, decoded by other threads and by no more than a piece; those that are kept
    are not decoded again, and of a part that is kept, only the rest is."""
    threads: set[str] = set()

    class Noted(Watched):
        def __getitem__(self, which: slice | Tensor) -> Tensor:
            threads.add(threading.current_thread().name)
            return super().__getitem__(which)

    pictures = smooth(330, 1, side=8)
    expected = pictures.flatten(1) / 255
    for name, count, read in (("clean@150", 150, [100, 50]), ("clean@150", 150, []), ("clean", 330, [100, 80])):
        noted = Noted(pictures)
        evaluator = generation.SampleEvaluator(Split(noted), CPU)  # type: ignore[arg-type]
        under = Sampling(10, "test", settings=ONE_STEP)
        found = evaluator._reference_features(f"{name}:{under.name}", under, protocol.MEASURE["clean"])
        torch.testing.assert_close(found[:, :192], expected[:count])
        assert sorted(noted.asked, reverse=True) == read
        assert shown == read
        shown.clear()
    assert threads
    assert all(name.startswith("vqbench-loader") for name in threads)


@pytest.mark.usefixtures("shown")
@pytest.mark.parametrize(
    ("reference", "references", "name", "count"),
    [
        ("train", None, "clean@60", 330),
        ("train", 100, "clean@60", 100),
        ("test", None, "clean@60", 60),
        ("test", 40, "clean@60", 40),
        ("test", 400, "clean", 330),
    ],
)
def test_fewer_test_images_are_no_fewer_training_images(
    reference: Any, references: int | None, name: str, count: int
) -> None:
    """A number of test images limits references of the test split, and none of the training split."""
    evaluator = generation.SampleEvaluator(Split(smooth(330, 1, side=8)), CPU)  # type: ignore[arg-type]
    under = Sampling(10, reference, references, ONE_STEP)
    assert len(evaluator._reference_features(f"{name}:{under.name}", under, protocol.MEASURE["clean"])) == count


# How samples are kept -------------------------------------------------------------------------------------------------

SAMPLING = Sampling(10, "test", settings=ONE_STEP)
NAME = f"clean:{SAMPLING.name}"
WEIGHTS = {"net.w": torch.ones(3)}


class Maker:
    """In place of a generator: an image of noise for each seed. Notes which places it was asked for."""

    def __init__(self, weights: dict[str, Tensor] = WEIGHTS) -> None:
        self.weights = weights
        self.made: list[list[int]] = []

    def eval(self) -> Maker:
        return self

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights

    def sample(self, seeds: Sequence[int], *, steps: int, eta: float) -> Tensor:
        self.made.append(list(seeds))
        return torch.stack([torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(each)) for each in seeds])


def place(purpose: str, number: int) -> int:
    """In place of a run's seeds: the place itself."""
    assert purpose == "sample"
    return number


@pytest.fixture
def fours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of four images, so that ten are three pieces."""
    monkeypatch.setattr(generation, "TOGETHER", 4)


def measure(
    folder: Path,
    maker: Maker,
    told: Callable[[int, int], None] = lambda *_: None,
    group: RankGroup = ALONE,
    anew: bool = True,
    wanted: Mapping[str, Sequence[str]] = MappingProxyType({NAME: ["copies"]}),
    mirrored: bool = False,
) -> Any:
    evaluator = generation.SampleEvaluator(Split(smooth(20, 1, 8)), CPU, group)  # type: ignore[arg-type]
    return evaluator.measure(maker, place, folder, wanted, told, None, anew, mirrored)  # type: ignore[arg-type]


def on_two(folder: Path, anew: bool = True, maker: type[Maker] = Maker, **leaders: Any) -> list[Maker]:
    """Measure with two ranks, the first of which is given ``leaders`` as well; what each of them made.

    An error is one that both raised.
    """
    makers = [maker(), maker()]

    def part(rank: Thread) -> Any:
        own = leaders if rank.is_first else {}
        try:
            return measure(folder, makers[rank.rank], group=rank, anew=anew, **own)
        except Exception as error:
            return error

    ends = two_ranks(part)
    if isinstance(ends[0], Exception):
        assert str(ends[1]) == str(ends[0])
        raise ends[0]
    assert [end.values.keys() for end in ends] == [{NAME}] * 2
    return makers


def stopped_at(pictures: int) -> Callable[[int, int], None]:
    def told(done: int, total: int) -> None:
        assert total == 10
        if done == pictures:
            raise Interrupted("stopped while measuring")

    return told


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def samples_in(folder: Path) -> np.ndarray:
    return np.load(folder / f"samples-{SAMPLING.samples_name}.npy")


WHOLE = {f"samples-{SAMPLING.samples_name}.npy", "samples.png", "neighbours.png", "samples.sha256"}


@pytest.mark.usefixtures("fours")
def test_samples_end_in_one_file(tmp_path: Path) -> None:
    """All samples are in one file, each that of its own seed, and nothing is left of the pieces; once there they are
    not made again."""
    maker, told = Maker(), []
    values = measure(tmp_path, maker, lambda *done: told.append(done)).values
    assert maker.made == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert told[:3] == [(4, 10), (8, 10), (10, 10)]
    assert set(told[3:]) == {(10, 10)}  # while they are measured
    assert files(tmp_path) == WHOLE
    expected = ((Maker().sample(range(10), steps=1, eta=0.0) + 1) / 2 * 255).round().to(torch.uint8).numpy()
    np.testing.assert_array_equal(samples_in(tmp_path), expected)
    assert values[NAME]["copies"].images == 10
    for anew in (False, True):
        again = Maker()
        assert measure(tmp_path, again, anew=anew).values == values
        assert again.made == []
    buffer = io.BytesIO()
    np.save(buffer, expected)
    assert (tmp_path / f"samples-{SAMPLING.samples_name}.npy").read_bytes() == buffer.getvalue()


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("anew", [False, True])
def test_stopped_while_sampling_it_goes_on(tmp_path: Path, ranks: int, anew: bool) -> None:
    """What was sampled before a stop is kept, also where the training is gone through again, and by however many ranks
    the rest is made, it ends in the samples of a run that was never stopped."""
    whole = measure(tmp_path / "whole", Maker()).values
    first, parts = Maker(), tmp_path / "parts"
    with pytest.raises(Interrupted):
        measure(parts, first, stopped_at(8), anew=anew)
    assert first.made == [[0, 1, 2, 3], [4, 5, 6, 7]]
    kept = {f"samples-{SAMPLING.samples_name}.parts/{number:06}.npy" for number in (0, 1)}
    assert files(parts) == kept | ({"samples.sha256"} if anew else set())
    if ranks == 2:
        assert [maker.made for maker in on_two(parts, anew)] == [[[8, 9]], []]
    else:
        rest, told = Maker(), []
        assert measure(parts, rest, lambda *done: told.append(done), anew=anew).values == whole
        assert (rest.made, set(told)) == ([[8, 9]], {(10, 10)})
    np.testing.assert_array_equal(samples_in(parts), samples_in(tmp_path / "whole"))
    assert not list(parts.glob("*.parts"))


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float, ranks: int) -> None:
    """One pixel of one sample that is NaN or infinite is an error that says what to do, on all ranks whichever made it,
    and no image."""

    class Diverged(Maker):
        def sample(self, seeds: Sequence[int], **settings: Any) -> Tensor:
            pictures = super().sample(seeds, **settings)
            if 6 in seeds:  # of the second piece, so the second rank's
                pictures[seeds.index(6), 1, 3, 4] = value
            return pictures

    with pytest.raises(RunError, match=r"are not numbers.*lower the learning rate"):
        measure(tmp_path, Diverged()) if ranks == 1 else on_two(tmp_path, maker=Diverged)
    assert not list(tmp_path.rglob("000001.npy"))
    assert not list(tmp_path.glob("samples-*.npy"))


@pytest.mark.usefixtures("fours")
def test_two_ranks_take_turns(tmp_path: Path) -> None:
    """Two ranks make a piece each a round, and together what one makes."""
    measure(tmp_path / "one", Maker())
    makers = on_two(tmp_path / "two")
    assert [maker.made for maker in makers] == [[[0, 1, 2, 3], [8, 9]], [[4, 5, 6, 7]]]
    np.testing.assert_array_equal(samples_in(tmp_path / "two"), samples_in(tmp_path / "one"))


PRECISION = MappingProxyType({NAME: ["precision"]})


def stopped_after(calls: int) -> Callable[[int, int], None]:
    """Told this many times that all samples are there, the last of them while they are measured, the user stops."""
    left = iter(range(calls))

    def told(done: int, total: int) -> None:
        if done == total and next(left, None) == calls - 1:
            raise Interrupted("stopped while measuring")

    return told


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_while_measuring_it_goes_on(tmp_path: Path, shown: list[int], ranks: int) -> None:
    """A stop comes through after each piece of features, on all ranks, and references that were seen before it are not
    seen again."""
    whole = measure(tmp_path / "whole", Maker(), wanted=PRECISION).values
    (tmp_path / "features.npy").unlink()
    shown.clear()
    told = stopped_after(1 + 3 + 2)  # all are sampled, the samples' three pieces, two of the references
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        measure(parts, Maker(), told, wanted=PRECISION) if ranks == 1 else on_two(parts, told=told, wanted=PRECISION)
    assert shown == [4, 4, 2, 4, 4]
    assert np.load(tmp_path / "features.npy").shape == (8, 2048)
    shown.clear()
    again = Maker()
    assert measure(parts, again, wanted=PRECISION).values == whole
    assert (again.made, shown) == ([], [4, 4, 2, 4, 4, 4])


@pytest.mark.usefixtures("fours")
def test_a_stop_comes_through_anywhere(tmp_path: Path, shown: list[int]) -> None:
    """While samples are measured and drawn there is a chance to stop after each piece of features, each metric and each
    piece of training images; every one is taken."""
    metrics = {NAME: ["precision", "copies"]}
    told: list[tuple[int, int]] = []
    measure(tmp_path, Maker(), lambda *done: told.append(done), wanted=metrics)
    assert len(told) == 3 + (3 + 5 + 1) + (3 + 1) + 5  # sampling, precision, copies, neighbours
    for calls in range(1, len(told) - 3 + 1):  # the samples are there
        with pytest.raises(Interrupted):
            measure(tmp_path, Maker(), stopped_after(calls), wanted=metrics, anew=False)
        (tmp_path / "features.npy").unlink(missing_ok=True)


@pytest.mark.usefixtures("fours")
def test_features_are_saved_now_and_then(tmp_path: Path, shown: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of references are saved after so many, twice as many and so on, so that a process that is killed loses
    no more than half, and writes little."""
    monkeypatch.setattr(generation, "SAVED", 4)
    kept: list[int] = []
    path = tmp_path / "features.npy"
    measure(tmp_path, Maker(), lambda *_: kept.append(len(np.load(path)) if path.exists() else 0), wanted=PRECISION)
    assert kept[6:11] == [4, 8, 8, 16, 16]  # after each of five pieces, once the samples have been seen
    assert kept[-1] == 20


@pytest.mark.usefixtures("fours", "shown")
def test_samples_are_read_and_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under two protocols and against two splits, the same samples are read once and drawn once; another sampling has
    samples of its own."""
    drawn: list[int] = []
    read: list[int] = []
    draw, whole = generation.draw, sample_pieces.SamplePieces.read

    def drawing(folder: Path, pictures: Tensor, *others: Any) -> None:
        drawn.append(len(pictures))
        draw(folder, pictures, *others)

    def reading(kept: sample_pieces.SamplePieces) -> Tensor:
        read.append(kept.count)
        return whole(kept)

    monkeypatch.setattr(generation, "draw", drawing)
    monkeypatch.setattr(sample_pieces.SamplePieces, "read", reading)
    other = Sampling(6, "test", settings=ONE_STEP)
    names = [f"clean:{SAMPLING.name}", f"clean:{other.name}", f"official:{SAMPLING.name}"]
    names.append(f"clean:{replace(SAMPLING, reference='train').name}")
    values = measure(tmp_path, Maker(), wanted={name: ["copies"] for name in names}).values
    assert (read, drawn) == ([10, 6], [10, 6])
    assert {name: value["copies"].images for name, value in values.items()} == dict(
        zip(names, [10, 6, 10, 10], strict=True)
    )


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("damage", ["cut", "changed", "head", "empty", "short", "gone"])
def test_a_damaged_piece_is_made_anew(tmp_path: Path, damage: str) -> None:
    """A piece that is not what was written, or not of these images, is made once more, and no other is."""
    measure(tmp_path / "whole", Maker())
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        measure(parts, Maker(), stopped_at(8))
    piece, other = (parts / f"samples-{SAMPLING.samples_name}.parts" / f"{number:06}.npy" for number in (0, 1))
    data = piece.read_bytes()
    match damage:
        case "cut":
            piece.write_bytes(data[:-100])
        case "changed":
            piece.write_bytes(data[:400] + bytes([data[400] ^ 1]) + data[401:])
        case "head":
            piece.write_bytes(data[:20] + b"PK" + data[22:])
        case "empty":
            piece.write_bytes(b"")
        case "short":  # whole, but of pieces of another size
            sample_pieces.SamplePieces(parts, SAMPLING, 2).keep([0], [np.zeros((2, 3, 8, 8), np.uint8)])
        case "gone":
            piece.unlink()
    assert other.exists()
    maker = Maker()
    measure(parts, maker)
    assert maker.made == [[0, 1, 2, 3], [8, 9]]
    np.testing.assert_array_equal(samples_in(parts), samples_in(tmp_path / "whole"))


@pytest.mark.usefixtures("fours")
def test_samples_of_other_weights_are_forgotten(tmp_path: Path) -> None:
    """A generator that was trained to other weights takes over neither samples nor pieces, of whatever sampling."""
    measure(tmp_path, Maker())
    pieces = sample_pieces.SamplePieces(tmp_path, Sampling(20, "test", settings=ONE_STEP), 4)
    pieces.keep([0], [np.zeros((4, 3, 8, 8), np.uint8)])
    other = Maker({"net.w": torch.tensor([1.0, 1.0, 2.0])})
    measure(tmp_path, other)
    assert len(other.made) == 3
    assert files(tmp_path) == WHOLE
    sample_pieces.forget(tmp_path)
    assert files(tmp_path) == {"samples.png", "neighbours.png"}


@pytest.mark.usefixtures("fours")
def test_stopped_while_joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when the pieces are joined loses none of them and leaves no half of a file under its name; a
    process that ended before it removed the pieces leaves them to the next."""
    with monkeypatch.context() as patched:
        patched.setattr(sample_pieces.os, "fsync", full_at(4))  # after three pieces, the whole
        with pytest.raises(Unwritable, match=r"samples-.*\.npy: cannot write \(No space left on device\)"):
            measure(tmp_path, Maker(), anew=False)
    assert not list(tmp_path.glob("*.npy"))
    rest = Maker()
    with monkeypatch.context() as patched:
        patched.setattr(sample_pieces.tidying, "delete", lambda *_: [])
        measure(tmp_path, rest, anew=False)
    assert rest.made == []
    assert list(tmp_path.glob("*.parts"))
    measure(tmp_path, rest, anew=False)
    assert rest.made == []
    assert files(tmp_path) == WHOLE - {"samples.sha256"}


def full_at(call: int) -> Callable[[int], None]:
    """In place of ``os.fsync``: the disk is full at this call of it."""
    calls = iter(range(1, call + 1))

    def fsync(_: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fsync


def test_samples_are_joined_piece_by_piece(tmp_path: Path) -> None:
    """While the one file is written, no more than some pieces of it are in memory."""
    sampling = Sampling(1000, "test", settings=ONE_STEP)
    kept = sample_pieces.SamplePieces(tmp_path, sampling, 50)
    levels = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), dtype=np.uint8)
    for number in range(20):
        kept.keep([number], [levels[kept.places(number)]])
    tracemalloc.start()
    try:
        kept.join()
        assert tracemalloc.get_traced_memory()[1] < 6 * levels.nbytes / 20
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(kept.read().numpy(), levels)


def test_a_run_goes_on_among_its_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run`, stopped while it samples, ends its next call in the samples of a run that was not stopped, and makes none
    of them twice, though its training, which has no record yet, is gone through again."""
    pytest.importorskip("diffusers", reason="the extra `generate` is not installed")
    from tests.support.tiny_suite import vqbench
    from tests.training.test_generation import suite

    path = suite(tmp_path)
    monkeypatch.setattr(generation, "TOGETHER", 2)
    made: list[int] = []
    sample = generation.sample

    def noted(generator: Any, seeds: Any, places: Sequence[int], *args: Any) -> Tensor:
        if stop and 4 in places:
            raise Interrupted("stopped while measuring")
        made.extend(places)
        return sample(generator, seeds, places, *args)

    def run(store: Path) -> None:
        vqbench("run", path, "--store", store, "--places", 0, "--quiet")

    monkeypatch.setattr(generation, "sample", noted)
    stop = True
    run(tmp_path / "parts")
    assert made == [0, 1, 2, 3]
    stop = False
    shutil.copytree(tmp_path / "parts", tmp_path / "whole", ignore=shutil.ignore_patterns("samples*"))
    run(tmp_path / "parts")
    assert made == [0, 1, 2, 3, 4, 5]
    run(tmp_path / "whole")
    assert made == [0, 1, 2, 3, 4, 5] * 2
    found = [np.load(next((tmp_path / store).rglob("samples-*.npy"))) for store in ("parts", "whole")]
    np.testing.assert_array_equal(found[0], found[1])
