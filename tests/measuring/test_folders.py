"""Two folders of images: the values are those of the usual packages on the same files."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import vqbench
from tests.measuring.conftest import COUNT, levels_of, photographs, write_pairs
from vqbench import protocol, registry
from vqbench.api.measure import measure_files
from vqbench.images import as_measured, to_unit
from vqbench.metric import Batch, Context

Pairs = tuple[Path, Path]
CPU = torch.device("cpu")


def files_of(pairs: Pairs) -> list[tuple[Path, Path]]:
    """Original and reconstruction of each image, in the order of their names."""
    originals = sorted(pairs[0].rglob("*.png"), key=lambda path: path.relative_to(pairs[0]).with_suffix("").as_posix())
    return [(path, pairs[1] / path.relative_to(pairs[0]).with_suffix(".jpg")) for path in originals]


def test_values_are_those_of_scikit_image(pairs: Pairs) -> None:
    """Each image's l1, PSNR and SSIM, and their means, are those that NumPy and scikit-image compute on the files."""
    evaluation = vqbench.evaluate(*pairs)
    expected: dict[str, list[float]] = {"l1": [], "psnr": [], "ssim": []}
    for files in files_of(pairs):
        x, y = (levels_of(path) / 255 for path in files)
        expected["l1"].append(np.abs(x - y).mean())
        expected["psnr"].append(peak_signal_noise_ratio(x, y, data_range=1))
        options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected["ssim"].append(structural_similarity(x, y, data_range=1, channel_axis=-1, win_size=11, **options))
    assert evaluation.per_image.name.tolist() == [
        original.relative_to(pairs[0]).with_suffix("").as_posix() for original, _ in files_of(pairs)
    ]
    for name, tolerance in (("l1", 1e-6), ("psnr", 2e-5), ("ssim", 2e-6)):
        np.testing.assert_allclose(evaluation.per_image[name], expected[name], atol=tolerance, rtol=0)
        assert evaluation[name] == pytest.approx(np.mean(expected[name]), abs=tolerance)
    assert evaluation.values.images.unique().tolist() == [COUNT]


def test_official_is_that_of_each_image_alone(pairs: Pairs) -> None:
    """Under official, every value equals that of a pass over images one by one, with its JPEG round trip."""
    found = vqbench.evaluate(*pairs, protocol="official").per_image
    measured = protocol.measuring("official")
    for name in ("l1", "psnr", "ssim"):
        metric = registry.load("metrics", name)(Context(measured, "", None, None, CPU))
        for number, files in enumerate(files_of(pairs)):
            x, y = (
                as_measured(to_unit(torch.from_numpy(levels_of(path).transpose(2, 0, 1).copy())[None]), measured)
                for path in files
            )
            (value,) = metric.update(Batch(x, y, None, torch.tensor([number])))
            assert found[name][number] == pytest.approx(float(value), rel=1e-12)


def as_tar(folder: Path, path: Path) -> Path:
    """Put a folder's images into a tar archive, in the layout of WebDataset: a key, a dot, and the rest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            if file.is_file():
                key = file.relative_to(folder).with_suffix("").as_posix().replace(".", "-")
                info = tarfile.TarInfo(f"{key}{file.suffix}")
                info.size = file.stat().st_size
                archive.addfile(info, io.BytesIO(file.read_bytes()))
    return path


def as_lmdb(folder: Path, path: Path) -> Path:
    """Put a folder's images into an lmdb environment, keyed by their names."""
    with lmdb.open(str(path), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for file in folder.rglob("*.*"):
            if file.is_file():
                key = file.relative_to(folder).with_suffix("").as_posix().replace(".", "-")
                transaction.put(key.encode(), file.read_bytes())
    return path


def as_array(pairs: Pairs, side: int) -> np.ndarray:
    """Stack one side of the pairs to (N, H, W, 3) uint8."""
    return np.stack([levels_of(files[side]) for files in files_of(pairs)])


def forms(pairs: Pairs, side: int, folder: Path) -> dict[str, Path]:
    """Write one side of the pairs in every form."""
    levels = as_array(pairs, side)
    channels_second = np.ascontiguousarray(levels.transpose(0, 3, 1, 2))
    np.save(folder / "nhwc.npy", levels)
    np.savez_compressed(folder / "nchw.npz", images=channels_second, labels=np.zeros(len(levels)))
    np.save(folder / "unit.npy", channels_second.astype(np.float32) / 255)
    np.save(folder / "signed.npy", channels_second.astype(np.float32) / 127.5 - 1)
    np.save(folder / "levels.npy", channels_second.astype(np.float64))
    torch.save(torch.from_numpy(channels_second), folder / "tensor.pt")
    names = ("nhwc.npy", "nchw.npz", "unit.npy", "signed.npy", "levels.npy", "tensor.pt")
    return {name: folder / name for name in names}


def test_every_container_holds_the_same_images(pairs: Pairs, tmp_path: Path) -> None:
    """Tar shards and lmdb environments give the values of the folders, image by image."""
    expected = vqbench.evaluate(*pairs).per_image
    for form in ("tar", "shards", "lmdb"):
        sides = []
        for side, folder in zip("ab", pairs, strict=True):
            if form == "lmdb":
                sides.append(as_lmdb(folder, tmp_path / f"{side}_lmdb"))
            else:
                path = as_tar(folder, tmp_path / form / side / "000.tar")
                sides.append(path if form == "tar" else path.parent)
        found = vqbench.evaluate(*sides).per_image
        assert found.name.tolist() == [name.replace(".", "-") for name in expected.name]
        np.testing.assert_array_equal(found[["l1", "psnr", "ssim"]], expected[["l1", "psnr", "ssim"]])


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    """A file name of other bytes is matched, and stands in the values per image by its codes."""
    photo = Image.fromarray(photographs(1)[0])
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        photo.save(os.fsencode(tmp_path / side) + b"/\xe9.png")
    store = tmp_path / "measured"
    for _ in range(2):  # measured, and read again
        found = measure_files(tmp_path / "a", tmp_path / "b", metrics=["l1"], store=store)
        assert found.per_image["name"].tolist() == ["\\udce9"]


def test_every_array_holds_the_same_images(pairs: Pairs, tmp_path: Path) -> None:
    """Arrays of any layout, type and range give the values of the folders, and say how they were read."""
    expected = vqbench.evaluate(*pairs)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    left, right = forms(pairs, 0, tmp_path / "a"), forms(pairs, 1, tmp_path / "b")
    for name in left:
        found = vqbench.evaluate(left[name], right[name])
        np.testing.assert_allclose(found.per_image.l1, expected.per_image.l1, atol=1e-7)
        np.testing.assert_allclose(found.per_image.psnr, expected.per_image.psnr, atol=2e-5)
        wanted = {"unit.npy": "0..1", "signed.npy": "-1..1", "levels.npy": "0..255"}.get(name)
        assert (wanted is None) == (f"read as {wanted} (detected" not in found.table())
    for name in ("nhwc.npy", "tensor.pt", "unit.npy"):
        mixed = vqbench.evaluate(left["nchw.npz"], right[name])
        np.testing.assert_array_equal(mixed.per_image.l1, expected.per_image.l1)


def test_arrays_iterables_and_files_are_one_code(pairs: Pairs) -> None:
    """In memory, batch by batch and from files, the same images have the same values."""
    left, right = (as_array(pairs, side).transpose(0, 3, 1, 2) for side in (0, 1))
    expected = vqbench.evaluate(*pairs).values.value.tolist()
    assert vqbench.evaluate(left, right).values.value.tolist() == expected
    parts = [slice(start, start + 7) for start in range(0, COUNT, 7)]
    streamed = vqbench.evaluate((left[part] for part in parts), (right[part] for part in parts))
    np.testing.assert_allclose(streamed.values.value, expected, rtol=1e-12)


def test_metrics_for_the_size(pairs: Pairs, tmp_path: Path) -> None:
    """Without names, metrics are those that exist for images of this size: MS-SSIM begins at 176 pixels."""
    assert vqbench.evaluate(*pairs).values.metric.tolist() == ["l1", "psnr", "ssim"]
    large = write_pairs(tmp_path, count=2, side=176)
    assert "ms_ssim" in vqbench.evaluate(*large).values.metric.tolist()


def test_digests_are_of_pixels(pairs: Pairs, tmp_path: Path) -> None:
    """The digests of a set are the same in every format, type, range and order, and change with one level."""
    expected = vqbench.evaluate(*pairs, metrics=["l1"]).about
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    left, right = forms(pairs, 0, tmp_path / "a"), forms(pairs, 1, tmp_path / "b")
    for name in left:
        found = vqbench.evaluate(left[name], right[name], metrics=["l1"]).about
        for side in ("originals", "reconstructions"):
            assert found[side]["digest"] == expected[side]["digest"], name
    levels = as_array(pairs, 0)
    np.save(tmp_path / "reversed.npy", levels[::-1])
    levels[3, 5, 7, 1] ^= 1
    np.save(tmp_path / "changed.npy", levels)
    for name, same in (("reversed.npy", True), ("changed.npy", False)):
        found = vqbench.evaluate(tmp_path / name, right["nhwc.npy"], metrics=["l1"]).about
        assert (found["originals"]["digest"] == expected["originals"]["digest"]) == same


@pytest.mark.slow
def test_lpips_is_that_of_the_package(pairs: Pairs) -> None:
    """Each image's LPIPS is that of the package ``lpips``, its own forward, on the same file."""
    from vqbench.networks.perceptual import network

    found = vqbench.evaluate(*pairs, metrics=["lpips"]).per_image.lpips
    package = network("vgg", CPU)
    assert type(package).__module__ == "lpips.lpips"
    for number, files in enumerate(files_of(pairs)):
        x, y = (torch.from_numpy(levels_of(path).transpose(2, 0, 1).copy())[None] / 127.5 - 1 for path in files)
        with torch.no_grad():
            assert found[number] == pytest.approx(float(package(x, y)), abs=3e-6)
