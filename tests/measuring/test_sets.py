"""Images against a reference of other images: the metrics of samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vqbench
from tests.cli.test_json import require
from tests.support.tiny_suite import vqbench as command
from vqbench import assets
from vqbench.api.measure_sets import measure_against
from vqbench.errors import Interrupted, RunError, UsageError
from vqbench.measuring.inputs.image_input import DamagedImage
from vqbench.networks import inception
from vqbench.system.stored_files import write_atomically

Pairs = tuple[Path, Path]


@pytest.fixture
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of a few random products instead of Inception, whose weights a machine may not have."""
    project = torch.randn(3 * 8 * 8, inception.DIM, generator=torch.Generator().manual_seed(0)) / 10

    def features(net: None, images: Tensor, resize: int | None, scale: None = None) -> Tensor:
        small = torch.nn.functional.interpolate(images.expand(-1, 3, -1, -1), size=(8, 8), mode="area")
        return small.flatten(1) @ project

    monkeypatch.setattr(inception, "network", lambda device: None)
    monkeypatch.setattr(inception, "features", features)
    monkeypatch.setattr("vqbench.execution.preparation.fetch", lambda names: {})


METRICS = ["precision", "coverage"]


@pytest.mark.usefixtures("_small_network")
def test_one_folder_against_a_reference(pairs: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder alone has the metrics of samples, from files and from arrays alike; JSON keeps its schema."""
    found = vqbench.evaluate(pairs[1], reference=pairs[0], metrics=METRICS)
    assert found["coverage"] == 1
    assert "Compared with 24 images" in found.table()
    words = ("measure", pairs[1], "--reference", pairs[0], "--store", tmp_path, "--device", "cpu")
    assert command(*words, "--metrics", "precision", "--metrics", "coverage", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    require("measure", data)
    assert [row["value"] for row in data["values"]] == found.values.value.tolist()
    assert not list(tmp_path.rglob("features-*"))  # deleted at the end


@pytest.mark.usefixtures("_small_network")
def test_few_images_are_marked(pairs: Pairs) -> None:
    """KID of fewer images than a subset has is given, and said to be not ranked."""
    table = vqbench.evaluate(pairs[1], reference=pairs[0], metrics=["sample_kid"]).table().replace("\n", " ")
    assert "KID is not ranked: it needs at least 1,000 images, here 24." in table


@pytest.mark.usefixtures("_small_network")
def test_pairs_and_a_reference(pairs: Pairs) -> None:
    """With both, a table has the metrics of pairs, and those of reconstructions against the reference."""
    found = vqbench.evaluate(*pairs, reference=pairs[0], metrics=["l1", "precision"])
    assert found.values.metric.tolist() == ["l1", "precision"]
    assert found["precision"] == vqbench.evaluate(pairs[1], reference=pairs[0], metrics=["precision"])["precision"]


@pytest.mark.usefixtures("_small_network")
def test_it_resumes(pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in between, features that were computed are not computed again, and values are the same."""
    monkeypatch.setattr("vqbench.measuring.pair_stream.PIXELS", 5 * 64 * 64)
    whole = vqbench.evaluate(pairs[1], reference=pairs[0], metrics=METRICS)
    counted: list[int] = []
    features = inception.features

    def counting(net: torch.nn.Module, images: Tensor, resize: int | None, scale: None = None) -> Tensor:
        counted.append(len(images))
        return features(net, images, resize)

    monkeypatch.setattr(inception, "features", counting)

    def stop(done: int, total: int) -> None:
        if done > 30:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        measure_against(pairs[1], pairs[0], metrics=METRICS, store=tmp_path, progress=stop)
    found = measure_against(pairs[1], pairs[0], metrics=METRICS, store=tmp_path)
    assert found.values.value.tolist() == whole.values.value.tolist()
    assert sum(counted) == 48
    said: list[str] = []
    measure_against(pairs[1], pairs[0], metrics=METRICS, store=tmp_path, progress=stop, say=said.append)
    assert "measured before" in said[0]
    write_atomically(next(tmp_path.rglob("measured.json")), b"{")
    assert measure_against(pairs[1], pairs[0], metrics=METRICS, store=tmp_path).values.equals(found.values)


@pytest.mark.usefixtures("_small_network")
def test_damaged_images(pairs: Pairs, tmp_path: Path) -> None:
    """A damaged image on either side is refused; skipped, it is named below the table."""
    expected = vqbench.evaluate(pairs[1], reference=pairs[0], metrics=METRICS)
    reference, samples = (shutil.copytree(root, tmp_path / root.name) for root in pairs)
    for folder in (reference, samples):
        (folder / "part0" / "photo.99.png").write_bytes(b"\x89PNG")
    arguments = {"metrics": METRICS, "store": tmp_path / "store"}
    for flag in (False, True, False):  # also where the values are in the store already
        if not flag:
            with pytest.raises(DamagedImage, match=r"photo.99.png: cannot be used .* --skip-damaged"):
                vqbench.evaluate(samples, reference=reference, **arguments)
            continue
        found = vqbench.evaluate(samples, reference=reference, skip_damaged=True, **arguments)
        assert found["coverage"] == expected["coverage"]
        assert found.values.images.tolist() == [24, 24]
        sentence = "2 images left out, since an image is damaged"
        assert sentence in found.table().replace("\n", " ")
        assert len(found.about["damaged"]) == 2
    both = vqbench.evaluate(*pairs, reference=reference, metrics=["l1", "precision"], skip_damaged=True)
    assert "1 image left out" in both.table().replace("\n", " ")
    for file in samples.rglob("*.jpg"):
        file.write_bytes(b"")
    with pytest.raises(UsageError, match="all 25 images are damaged"):
        vqbench.evaluate(samples, reference=reference, metrics=METRICS, skip_damaged=True)


def test_refused(pairs: Pairs, tmp_path: Path) -> None:
    """The same folder twice, metrics that need more, no reference, and too few images are refused."""
    with pytest.raises(UsageError, match="are the same"):
        vqbench.evaluate(pairs[0], reference=pairs[0])
    with pytest.raises(UsageError, match="give ORIGINALS and RECONSTRUCTIONS, or a generator's images"):
        vqbench.evaluate(pairs[0])
    with pytest.raises(UsageError, match="'copies' needs the images that a generator was trained on"):
        vqbench.evaluate(pairs[0], reference=pairs[1], metrics=["copies"])
    with pytest.raises(UsageError, match="'l1' compares pairs"):
        vqbench.evaluate(pairs[0], reference=pairs[1], metrics=["l1"])
    np.save(tmp_path / "few.npy", np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(RunError, match="Precision needs at least 4 images on both sides, and was given 2"):
        vqbench.evaluate(pairs[0], reference=tmp_path / "few.npy", metrics=["precision"])


@pytest.mark.slow
def test_fid_is_torch_fidelitys(pairs: Pairs, tmp_path: Path) -> None:
    """FID of a folder against another, and rFID of the pairs, are torch-fidelity's on the same pixels."""
    from tests.measuring.conftest import levels_of
    from tests.support.fidelity import frechet_inception_distance

    assert assets.tensors("inception_fid")
    files = [sorted(root.rglob(f"*{end}")) for root, end in zip(pairs, (".png", ".jpg"), strict=True)]
    sides = [torch.from_numpy(np.stack([levels_of(path).transpose(2, 0, 1) for path in paths])) for paths in files]
    expected = frechet_inception_distance(sides[0], sides[1], tmp_path)
    assert vqbench.evaluate(pairs[1], reference=pairs[0], metrics=["fid"])["fid"] == pytest.approx(expected, abs=0.02)
    assert vqbench.evaluate(*pairs, metrics=["rfid"])["rfid"] == pytest.approx(expected, abs=0.02)
