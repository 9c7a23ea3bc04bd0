"""Values of photographs and their JPEG copies are those of the usual packages on the same files, image by image.

The photographs are those of scikit-image, or all in the folder that ``VQBENCH_PHOTOS`` names, whatever their sizes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import vqbench
from tests.evaluation.test_reconstructions import lpips_one_by_one, measured_one_by_one
from tests.measuring.conftest import levels_of, photographs
from vqbench.images import to_unit

Pairs = tuple[Path, Path]
CPU = torch.device("cpu")
QUALITY = 30  # of the JPEG copies
OWN, SIDE = 12, 128  # of scikit-image's photographs: number and pixels
LPIPS = 60  # photographs at most that LPIPS is compared on, which takes seconds for each
TOLERANCES = {"l1": 1e-6, "psnr": 2e-5, "ssim": 2e-6}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Folders of photographs as PNG, and of their JPEG copies."""
    given = os.environ.get("VQBENCH_PHOTOS")
    files = sorted(path for path in Path(given).rglob("*") if path.suffix in (".jpg", ".png")) if given else []
    assert files or not given, f"VQBENCH_PHOTOS: no .jpg or .png in {given}"
    photos = [levels_of(file) for file in files] or photographs(OWN, SIDE)
    folder = tmp_path_factory.mktemp("photos")
    pairs = folder / "originals", folder / "reconstructions"
    for each in pairs:
        each.mkdir()
    for number, levels in enumerate(photos):
        Image.fromarray(levels).save(pairs[0] / f"{number:06}.png", compress_level=1)
        Image.fromarray(levels).save(pairs[1] / f"{number:06}.jpg", quality=QUALITY)
    return pairs


def files_of(pairs: Pairs, count: int | None = None) -> list[tuple[Path, Path]]:
    """The first files of both sides, in the order of their names."""
    return list(zip(*(sorted(side.iterdir())[:count] for side in pairs), strict=True))


def first(pairs: Pairs, count: int, folder: Path) -> Pairs:
    """Folders of links to the first pairs."""
    sides = folder / "a", folder / "b"
    for side in sides:
        side.mkdir()
    for files in files_of(pairs, count):
        for side, file in zip(sides, files, strict=True):
            os.link(file, side / file.name)
    return sides


def script(files: tuple[Path, Path], folder: Path) -> dict[str, list[float]]:
    """What the image-by-image script gives for one pair; it writes JPEG files into ``folder``."""
    folder.mkdir()
    x, y = (to_unit(torch.from_numpy(levels_of(file).transpose(2, 0, 1).copy())[None]) for file in files)
    return measured_one_by_one(x, y, folder)


def require_equal(found: vqbench.Evaluation, expected: dict[str, list[float]], tolerances: dict[str, float]) -> None:
    """Every image's value, and the mean."""
    for name, tolerance in tolerances.items():
        np.testing.assert_allclose(found.per_image[name], expected[name], atol=tolerance, rtol=0)
        assert found[name] == pytest.approx(np.mean(expected[name]), abs=tolerance)


def test_clean_is_scikit_image(photos: Pairs) -> None:
    """Every l1, PSNR and SSIM under clean, and their means, are those of NumPy and scikit-image."""
    expected: dict[str, list[float]] = {name: [] for name in TOLERANCES}
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "win_size": 11}
    for files in files_of(photos):
        x, y = (levels_of(file) / 255 for file in files)
        expected["l1"].append(np.abs(x - y).mean())
        expected["psnr"].append(peak_signal_noise_ratio(x, y, data_range=1))
        expected["ssim"].append(structural_similarity(x, y, data_range=1, channel_axis=-1, **options))
    require_equal(vqbench.evaluate(*photos), expected, TOLERANCES)


def test_official_is_the_script(photos: Pairs, tmp_path: Path) -> None:
    """Every l1, PSNR and SSIM under official are those of the script that takes one image at a time."""
    expected: dict[str, list[float]] = {name: [] for name in TOLERANCES}
    for number, files in enumerate(files_of(photos)):
        for name, values in script(files, tmp_path / str(number)).items():
            expected[name] += values
    require_equal(vqbench.evaluate(*photos, protocol="official"), expected, TOLERANCES)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["clean", "official"])
def test_lpips_is_the_package(photos: Pairs, tmp_path: Path, protocol: str) -> None:
    """Every LPIPS is that of the package lpips, under official on the files of the script."""
    from vqbench.networks.perceptual import network

    package = network("vgg", CPU)
    assert type(package).__module__ == "lpips.lpips"
    expected: list[float] = []
    for number, files in enumerate(files_of(photos, LPIPS)):
        if protocol == "official":
            script(files, tmp_path / str(number))
            expected += lpips_one_by_one(package, tmp_path / str(number), 1)
        else:
            x, y = (torch.from_numpy(levels_of(file).transpose(2, 0, 1).copy())[None] / 127.5 - 1 for file in files)
            with torch.no_grad():
                expected.append(float(package(x, y)))
    pairs = first(photos, LPIPS, tmp_path)
    found = vqbench.evaluate(*pairs, metrics=["lpips"], protocol=protocol)
    require_equal(found, {"lpips": expected}, {"lpips": 3e-6})


@pytest.mark.slow
def test_rfid_is_torch_fidelity(photos: Pairs, tmp_path: Path) -> None:
    """The clean rFID is torch-fidelity's FID of the same pixels."""
    from tests.support.fidelity import frechet_inception_distance

    sides = [
        torch.from_numpy(np.stack([levels_of(files[side]).transpose(2, 0, 1) for files in files_of(photos)]))
        for side in (0, 1)
    ]
    expected = frechet_inception_distance(sides[0], sides[1], tmp_path)
    assert vqbench.evaluate(*photos, metrics=["rfid"])["rfid"] == pytest.approx(expected, abs=0.02)
