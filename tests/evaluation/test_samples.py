"""Samples are kept, a stop loses little of them, and references are read in pieces."""

from __future__ import annotations

import io
import math
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.generators import (
    NAME,
    ONE_STEP,
    SAMPLING,
    WHOLE,
    Maker,
    Split,
    files,
    measure,
    on_two,
    samples_in,
    stopped_at,
)
from tests.support.measured_samples import WatchedImages, smooth
from vqbench import protocol
from vqbench.errors import Interrupted, RunError
from vqbench.evaluation import contact_sheets, sample_pieces
from vqbench.evaluation import samples as generation
from vqbench.execution import rank_worker
from vqbench.execution.messages import RunSettings
from vqbench.metric import Samples
from vqbench.metrics.copies import Copies
from vqbench.recipe import SecondStage
from vqbench.store.value_name import Sampling

CPU = torch.device("cpu")
PRECISION = MappingProxyType({NAME: ["precision"]})


@pytest.mark.usefixtures("fours")
def test_samples_end_in_one_file(tmp_path: Path) -> None:
    """All samples are in one file, each that of its own seed, and nothing is left of the pieces; once there they are
    not made again."""
    maker, progress = Maker(), []
    values = measure(tmp_path, maker, lambda *done: progress.append(done)).values
    assert maker.made == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert progress[:3] == [(4, 10), (8, 10), (10, 10)]
    assert set(progress[3:]) == {(10, 10)}  # while they are measured
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
def test_stopped_while_sampling_it_resumes(tmp_path: Path, ranks: int, anew: bool) -> None:
    """Samples from before a stop are kept, also if the training is repeated, and with any number of ranks
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
        rest, progress = Maker(), []
        assert measure(parts, rest, lambda *done: progress.append(done), anew=anew).values == whole
        assert (rest.made, set(progress)) == ([[8, 9]], {(10, 10)})
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
            images = super().sample(seeds, **settings)
            if 6 in seeds:  # of the second piece, so the second rank's
                images[seeds.index(6), 1, 3, 4] = value
            return images

    with pytest.raises(RunError, match=r"are not numbers.*lower the learning rate"):
        measure(tmp_path, Diverged()) if ranks == 1 else on_two(tmp_path, maker=Diverged)
    assert not list(tmp_path.rglob("000001.npy"))
    assert not list(tmp_path.glob("samples-*.npy"))


@pytest.mark.usefixtures("fours")
def test_two_ranks_take_turns(tmp_path: Path) -> None:
    """Two ranks sample one piece each per round, and together the samples of one rank."""
    measure(tmp_path / "one", Maker())
    makers = on_two(tmp_path / "two")
    assert [maker.made for maker in makers] == [[[0, 1, 2, 3], [8, 9]], [[4, 5, 6, 7]]]
    np.testing.assert_array_equal(samples_in(tmp_path / "two"), samples_in(tmp_path / "one"))


def stopped_after(calls: int) -> Callable[[int, int], None]:
    """The user stops after this many progress calls with all samples done, the last of them during evaluation."""
    left = iter(range(calls))

    def progress(done: int, total: int) -> None:
        if done == total and next(left, None) == calls - 1:
            raise Interrupted("stopped while measuring")

    return progress


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_during_evaluation_it_resumes(tmp_path: Path, shown: list[int], ranks: int) -> None:
    """A stop comes through after each piece of features, on all ranks, and references that were seen before it are not
    seen again."""
    whole = measure(tmp_path / "whole", Maker(), wanted=PRECISION).values
    (tmp_path / "features.npy").unlink()
    shown.clear()
    progress = stopped_after(1 + 3 + 2)  # all are sampled, the samples' three pieces, two of the references
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        measure(parts, Maker(), progress, wanted=PRECISION) if ranks == 1 else on_two(
            parts, progress=progress, wanted=PRECISION
        )
    assert shown == [4, 4, 2, 4, 4]
    assert np.load(tmp_path / "features.npy").shape == (8, 2048)
    shown.clear()
    again = Maker()
    assert measure(parts, again, wanted=PRECISION).values == whole
    assert (again.made, shown) == ([], [4, 4, 2, 4, 4, 4])


@pytest.mark.usefixtures("fours")
def test_a_stop_comes_through_anywhere(tmp_path: Path, shown: list[int]) -> None:
    """Evaluation and drawing of samples can stop after each piece of features, each metric and each
    piece of training images; the test stops at each."""
    metrics = {NAME: ["precision", "copies"]}
    progress: list[tuple[int, int]] = []
    measure(tmp_path, Maker(), lambda *done: progress.append(done), wanted=metrics)
    assert len(progress) == 3 + (3 + 5 + 1) + (3 + 1) + 5  # sampling, precision, copies, neighbours
    for calls in range(1, len(progress) - 3 + 1):  # all samples exist
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
    draw, whole = contact_sheets.draw, sample_pieces.SamplePieces.read

    def drawing(folder: Path, images: Tensor, *others: Any) -> None:
        drawn.append(len(images))
        draw(folder, images, *others)

    def reading(kept: sample_pieces.SamplePieces) -> Tensor:
        read.append(kept.count)
        return whole(kept)

    monkeypatch.setattr(contact_sheets, "draw", drawing)
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
def test_samples_of_other_weights_are_forgotten(tmp_path: Path) -> None:
    """A generator with other weights reuses neither samples nor pieces, for any sampling settings."""
    measure(tmp_path, Maker())
    pieces = sample_pieces.SamplePieces(tmp_path, Sampling(20, "test", settings=ONE_STEP), 4)
    pieces.keep([0], [np.zeros((4, 3, 8, 8), np.uint8)])
    other = Maker({"net.w": torch.tensor([1.0, 1.0, 2.0])})
    measure(tmp_path, other)
    assert len(other.made) == 3
    assert files(tmp_path) == WHOLE
    sample_pieces.forget(tmp_path)
    assert files(tmp_path) == {"samples.png", "neighbours.png", "samples.npz"}


def test_what_was_learned_from_reaches_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies and grids consider mirror images if the evaluator's argument, from the run's recipe, is set."""
    seen: list[Samples] = []
    drawn: list[bool] = []
    monkeypatch.setattr(Copies, "measure", lambda self, samples: seen.append(samples) or 0.0)
    monkeypatch.setattr(contact_sheets, "draw", lambda *args: drawn.append(args[4]))
    for mirrored in (False, True):
        measure(tmp_path, Maker(), mirrored=mirrored)
    assert [samples.mirrored for samples in seen] == drawn == [False, True]

    calls: list[dict[str, Any]] = []
    evaluator = SimpleNamespace(measure=lambda *_, **named: calls.append(named))
    monkeypatch.setattr(generation, "SampleEvaluator", lambda *_: evaluator)
    listener: Any = SimpleNamespace(run_started=lambda *_: None)
    engine: Any = SimpleNamespace(device=CPU)
    run: Any = SimpleNamespace(seed=1, dataset=SimpleNamespace(name="few"))
    task, worker = (
        rank_worker.RankTask(run, tmp_path, {}, True),
        rank_worker.RankWorker(RunSettings("cpu"), listener, lambda: False),
    )
    for recipe in (SimpleNamespace(mirrored=True, subset=7), SecondStage()):
        result = rank_worker.RankResult(None)
        worker._evaluate_samples(task, recipe, engine, Split(None), None, result)  # type: ignore[arg-type]
    assert [(each["mirrored"], each["trained_on"]) for each in calls] == [(True, 7), (False, None)]


def test_references_are_decoded_ahead(shown: list[int]) -> None:
    """Features of references are in order, decoded by other threads and by no more than a piece; those that are kept
    are not decoded again, and of a part that is kept, only the rest is."""
    threads: set[str] = set()

    class Noted(WatchedImages):
        def __getitem__(self, which: slice | Tensor) -> Tensor:
            threads.add(threading.current_thread().name)
            return super().__getitem__(which)

    images = smooth(330, 1, side=8)
    expected = images.flatten(1) / 255
    for name, count, read in (("clean@150", 150, [100, 50]), ("clean@150", 150, []), ("clean", 330, [100, 80])):
        noted = Noted(images)
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


def test_a_run_resumes_among_its_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run`, stopped while it samples, ends its next call in the samples of a run that was not stopped, and makes none
    of them twice, though its training, which has no record yet, is gone through again."""
    pytest.importorskip("diffusers", reason="the extra `generate` is not installed")
    from tests.recipes.test_diffusion import suite
    from tests.support.tiny_suite import vqbench

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
        vqbench("run", path, "--store", store, "--jobs", 0, "--quiet")

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
