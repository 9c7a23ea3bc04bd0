"""`vqbench explain` of metrics of sets: reference, number of images, the resize, and what the search costs.

``VQBENCH_PHOTOS`` may name a folder with photographs in ``train`` and ``val``; else tiles of scikit-image's are used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.evaluation.explaining.test_planted_settings import photographs, search, through_jpeg, write
from tests.measuring.conftest import photographs as many_photographs
from tests.support.fidelity import frechet_inception_distance
from vqbench.api.explaining import ExplainOptions, explain_images, explained_pairs, search_target
from vqbench.api.measure_sets import measure_against, measure_images
from vqbench.errors import AssetError, RunError, UsageError
from vqbench.evaluation.explaining import values
from vqbench.evaluation.explaining.settings import Conditions, conditions
from vqbench.measuring.explained_pairs import ExplainedPairs
from vqbench.networks import inception
from vqbench.protocol import MEASURE

CPU = torch.device("cpu")
Folders = tuple[Path, Path, Path]  # originals, reconstructions, another split


def split(name: str, count: int | None = None) -> list[np.ndarray]:
    """Return photographs of a split, all or the first: of VQBENCH_PHOTOS, else tiles of scikit-image, none in both."""
    if folder := os.environ.get("VQBENCH_PHOTOS"):
        files = sorted((Path(folder) / name).iterdir())[:count]
        return [np.asarray(Image.open(path).convert("RGB")) for path in files]
    tiles = many_photographs(60, 64)
    return (tiles[::2] if name == "val" else tiles[1::2])[:count]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Photographs, their JPEG-30 copies, and more photographs of another split."""
    root = tmp_path_factory.mktemp("sets")
    images = split("val", 16)
    copies = [through_jpeg(image, 30) for image in images]
    return write(root / "a", images), write(root / "b", copies), write(root / "other", split("train", 20))


@pytest.fixture
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of a few random products instead of Inception, whose weights a machine may not have."""
    monkeypatch.setattr(inception, "DIM", 8)
    project = torch.randn(3 * 8 * 8, inception.DIM, generator=torch.Generator().manual_seed(0)) / 10

    def features(net: None, images: Tensor, resize: Any, scale: Any = None) -> Tensor:
        mode = "nearest" if resize == "pytorch" else "area"
        small = torch.nn.functional.interpolate(images.expand(-1, 3, -1, -1), size=(8, 8), mode=mode)
        return small.flatten(1) @ project

    monkeypatch.setattr(inception, "network", lambda device: None)
    monkeypatch.setattr(inception, "features", features)
    for module in ("vqbench.execution.preparation", "tests.evaluation.explaining.test_planted_settings"):
        monkeypatch.setattr(f"{module}.fetch", lambda names: {})


@pytest.mark.usefixtures("_small_network")
@pytest.mark.parametrize(("metric", "of_samples"), [("rfid", "fid"), ("kid", "sample_kid")])
def test_the_other_reference_is_what_measure_gives(
    metric: str, of_samples: str, folders: Folders, tmp_path: Path
) -> None:
    """Against the other split the value is that of `vqbench measure B --reference OTHER`; against originals, rFID."""
    other_split = folders[2]
    if metric == "kid":  # of different numbers it takes random subsets, which depend on the order of both sides
        other_split = write(tmp_path / "other", images_of(folders[2])[:16])
    pairs = ExplainedPairs(*folders[:2], other_split)
    base = conditions(MEASURE["clean"], pairs.facts)
    other = Conditions(**{**vars(base), "name": "other", "reference": "other"})
    found = values.values_under({base: [metric], other: [metric]}, pairs, CPU)
    expected = measure_against(folders[1], other_split, metrics=[of_samples])[of_samples]
    assert found[other][metric] == pytest.approx(expected, rel=1e-5)
    usual = measure_images(*folders[:2], metrics=[metric])[metric]
    assert found[base][metric] == pytest.approx(usual, rel=1e-6)


@pytest.mark.usefixtures("_small_network")
def test_fewer_images_are_the_first_ones(folders: Folders, tmp_path: Path) -> None:
    """The value of half the images is that of a folder with the first half alone."""
    halves = [write(tmp_path / side.name, images_of(side)[:8]) for side in folders[:2]]
    found = explain_images(explained_pairs(*folders[:2]), ExplainOptions("clean", "clean", ["rfid", "l1", "psnr"]))
    assert [change.setting.title for change in found.alone("rfid") if change.setting.knob == "images"] == [
        "images 16 → 8"
    ]
    for metric in ("rfid", "l1", "psnr"):
        half = next(change.after for change in found.alone(metric) if change.setting.knob == "images")
        assert half == pytest.approx(measure_images(*halves, metrics=[metric])[metric], rel=1e-6)


def images_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


@pytest.mark.usefixtures("_small_network")
def test_a_planted_reference_is_found(folders: Folders) -> None:
    """FID against the other split is explained by the reference alone, which is not tried unless it is given."""
    target = measure_against(folders[1], folders[2], metrics=["fid"])["fid"]
    found = search(folders[:2], f"rfid={target:.4f}", other=folders[2])
    assert found.same[0].settings == {"reference": "other"}
    without = search(folders[:2], f"rfid={target:.4f}", pairs=False)
    assert not without.same
    assert any("--other-reference FOLDER tries another" in sentence for sentence in without.plan.left_out)


@pytest.mark.usefixtures("_small_network")
def test_pairs_of_a_network_are_tried_only_if_nothing_alone_explains(folders: Folders) -> None:
    """What costs passes of a network is said first, pairs last; `--alone` leaves them out; progress reaches the end."""
    said: list[str] = []
    steps: list[tuple[int, int]] = []
    images = explained_pairs(*folders)
    options = ExplainOptions("clean", progress=lambda *step: steps.append(step), say=said.append)
    half = explain_images(images, ExplainOptions("clean", "clean", ["rfid"]))
    value = next(change.after for change in half.alone("rfid") if change.setting.knob == "images")
    alone = search_target(images, f"rfid={value:.5f}", options)
    assert alone.same[0].settings == {"images": 8}
    assert alone.untried > 20
    assert "only if no setting alone prints the number" in said[0]
    assert steps[-1][0] == steps[-1][1]
    assert len(said) == 1
    nothing = search_target(images, "rfid=123.45", options, pairs=False)
    assert nothing.untried == alone.untried
    assert not nothing.same
    everything = search_target(images, "rfid=123.45", options)
    assert everything.untried == 0
    assert any(len(each.settings) == 2 for each in everything.candidates)
    assert said[-1].startswith("no setting alone prints 123.45: for pairs of settings")
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.usefixtures("_small_network")
def test_a_base_that_prints_the_number_ends_the_search(folders: Folders) -> None:
    """Where the protocol itself prints the number, no network sees the images a second time."""
    base = measure_images(*folders[:2], metrics=["rfid"])["rfid"]
    found = search(folders[:2], f"rfid={base:.3f}")
    assert found.plan.target.printed_by(found.base)
    assert not found.candidates


@pytest.mark.usefixtures("_small_network")
def test_odd_references_are_refused(folders: Folders, tmp_path: Path) -> None:
    """The originals themselves are no other reference, and one image is too few."""
    with pytest.raises(UsageError, match="these are the originals"):
        ExplainedPairs(*folders[:2], folders[0])
    one = write(tmp_path / "one", photographs()[:1])
    with pytest.raises(RunError, match="at least 2 images to compare with"):
        search(folders[:2], "rfid=3", other=one)


# With the network, on all photographs, in minutes ---------------------------------------------------------------------


def tiled(images: list[np.ndarray]) -> list[np.ndarray]:
    """Join four photographs to one of 512 pixels."""
    tiles = [np.tile(image, (256 // len(image), 256 // len(image), 1)) for image in images]
    fours = [tiles[start : start + 4] for start in range(0, len(tiles) - 3, 4)]
    return [np.concatenate([np.concatenate(four[:2], 1), np.concatenate(four[2:], 1)]) for four in fours]


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The distance of features by its formula, the root's trace as the singular values of their products."""
    centred = [each - each.mean(0) for each in (first, second)]
    traces = sum((each**2).sum() / (len(each) - 1) for each in centred)
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    root /= np.sqrt((len(first) - 1) * (len(second) - 1))
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + traces - 2 * root)


@pytest.fixture
def net() -> Any:
    try:
        return inception.network(CPU)
    except AssetError as error:
        pytest.skip(f"the weights of FID are not to be had on this machine: {error}")


@torch.no_grad()
def features_without_antialiasing(net: Any, images: list[np.ndarray]) -> np.ndarray:
    """What the network makes of images that PyTorch resized, a few at a time."""
    features = []
    for start in range(0, len(images), 10):
        unit = torch.from_numpy(np.stack(images[start : start + 10])).permute(0, 3, 1, 2).float() / 255
        x = 2 * torch.nn.functional.interpolate(unit, size=(299, 299), mode="bilinear", align_corners=False) - 1
        for layer in inception.LAYERS:
            x = getattr(net, layer)(x)
        features.append(x.flatten(1).double().numpy())
    return np.concatenate(features)


@pytest.mark.slow
def test_a_planted_resize_of_large_images_is_first(net: Any, tmp_path: Path) -> None:
    """rFID with another resize, without antialiasing, of photographs of 512 pixels is explained by the resize first."""
    images = tiled([*split("train"), *split("val")])
    sides = images, [through_jpeg(image, 30) for image in images]
    target = frechet(*(features_without_antialiasing(net, side) for side in sides))
    pair = write(tmp_path / "a", sides[0]), write(tmp_path / "b", sides[1])
    found = search(pair, f"rfid={target:.2f}", "torch-fidelity", pairs=False)
    assert not found.plan.target.printed_by(found.base)
    assert found.same[0].settings == {"fid_resize": "pytorch"}


@pytest.mark.slow
@pytest.mark.usefixtures("net")
def test_rfid_against_another_split_is_first(tmp_path: Path) -> None:
    """torch-fidelity's FID of the reconstructions and another split is explained by the reference before all."""
    images, others = split("val"), split("train")
    copies = [through_jpeg(image, 30) for image in images]
    sides = [torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) for side in (copies, others)]
    target = frechet_inception_distance(*sides, tmp_path)
    pair = write(tmp_path / "a", images), write(tmp_path / "b", copies)
    found = search(pair, f"rfid={target:.2f}", "torch-fidelity", write(tmp_path / "other", others), pairs=False)
    assert not found.plan.target.printed_by(found.base)
    assert found.same[0].settings == {"reference": "other"}
