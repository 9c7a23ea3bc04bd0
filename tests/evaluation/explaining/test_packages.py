"""Protocols of other tools against the packages themselves, on the same images; no weights are downloaded.

``tox -e other-tools`` has all packages. Elsewhere, tests of those that are not installed are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.evaluation.explaining.test_planted_settings import arrays, photographs, search, through_jpeg, write
from tests.support.fidelity import frechet_inception_distance
from vqbench import assets
from vqbench.errors import AssetError
from vqbench.networks.compat import ensure_torchvision

NEAR = {"psnr": 2e-5, "ssim": 1e-5, "lpips": 3e-6, "rfid": 0.02}
SIDE = 360  # larger than the input of Inception, so that antialiasing shows

Folders = tuple[Path, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Photographs and their JPEG-30 copies, as two folders."""
    root = tmp_path_factory.mktemp("packages")
    images = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE))) for image in photographs()]
    return write(root / "a", images), write(root / "b", [through_jpeg(image, 30) for image in images])


def package(name: str) -> Any:
    ensure_torchvision()
    return pytest.importorskip(name, reason=f"{name} is not installed; tox -e other-tools has it")


@pytest.fixture(scope="module")
def inception_weights() -> dict[str, Tensor]:
    """The weights that vqbench has, with a classifier of zeros, which FID does not use."""
    try:
        weights = assets.tensors("inception_fid")
    except AssetError as error:
        pytest.skip(f"the weights of FID are not to be had on this machine: {error}")
    return {**weights, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def levels(pair: Folders) -> tuple[Tensor, Tensor]:
    """Return both sides as (N, 3, H, W) uint8."""
    first, second = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) for images in arrays(pair))
    return first, second


@pytest.mark.slow
def test_pixels_by_torchmetrics(pair: Folders) -> None:
    """PSNR and SSIM are torchmetrics', by its defaults and data_range=1."""
    image = package("torchmetrics.image")
    first, second = (side.double() / 255 for side in levels(pair))
    for metric, theirs in (
        ("psnr", image.PeakSignalNoiseRatio(data_range=1.0)),
        ("ssim", image.StructuralSimilarityIndexMeasure(data_range=1.0)),
    ):
        expected = pytest.approx(float(theirs(second, first)), abs=NEAR[metric])
        assert base_of(pair, "torchmetrics", f"{metric}=-2") == expected


@pytest.mark.slow
def test_lpips_by_torchmetrics(pair: Folders) -> None:
    """LPIPS of AlexNet is torchmetrics', by its own heads, on the weights of AlexNet that vqbench has."""
    package("torchmetrics.image.lpip")
    from torchmetrics.functional.image.lpips import _LPIPS, _lpips_update

    net = _LPIPS(net="alex", pnet_rand=True)
    weights = assets.tensors("alexnet_lpips")
    own = {name: weights["features." + name.split(".", 1)[1]] for name in net.net.state_dict()}
    net.net.load_state_dict(own)
    first, second = (side.float() / 255 for side in levels(pair))
    with torch.no_grad():
        expected = float(_lpips_update(first, second, net, normalize=True).mean())
    assert search(pair, f"lpips={expected:.4f}", "torchmetrics").base == pytest.approx(expected, abs=NEAR["lpips"])


@pytest.mark.slow
def test_fid_by_torchmetrics(pair: Folders, inception_weights: dict[str, Tensor], tmp_path: Path) -> None:
    """FID is torchmetrics', whose resize is not torch-fidelity's."""
    image = package("torchmetrics.image.fid")
    torch.save(inception_weights, tmp_path / "inception.pth")
    theirs = image.FrechetInceptionDistance(feature_extractor_weights_path=str(tmp_path / "inception.pth"))
    theirs.set_dtype(torch.float64)
    for side, real in zip(levels(pair), (True, False), strict=True):
        theirs.update(side, real=real)
    assert base_of(pair, "torchmetrics") == pytest.approx(float(theirs.compute()), abs=NEAR["rfid"])


@pytest.mark.slow
def test_fid_by_torch_fidelity(pair: Folders, tmp_path: Path) -> None:
    """FID is torch-fidelity's."""
    expected = frechet_inception_distance(*levels(pair), tmp_path)
    assert base_of(pair, "torch-fidelity") == pytest.approx(expected, abs=NEAR["rfid"])


@pytest.mark.slow
def test_fid_by_pytorch_fid(
    pair: Folders, inception_weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FID is pytorch-fid's, on the weights handed to it."""
    score = package("pytorch_fid.fid_score")
    from pytorch_fid import inception

    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: inception_weights)
    expected = score.calculate_fid_given_paths([str(folder) for folder in pair], 12, "cpu", 2048, num_workers=0)
    assert base_of(pair, "pytorch-fid") == pytest.approx(expected, abs=NEAR["rfid"])


@pytest.mark.slow
def test_fid_by_clean_fid(pair: Folders, inception_weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """FID is clean-fid's on the same network, which is pytorch-fid's with the input that clean-fid's has."""
    fid = package("cleanfid.fid")
    package("pytorch_fid")
    from pytorch_fid import inception

    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: inception_weights)
    net = inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()

    def network(x: Tensor) -> Tensor:
        return net((x - 128) / 128)[0].flatten(1)

    expected = fid.compute_fid(
        *map(str, pair),
        mode="clean",
        num_workers=0,
        custom_feat_extractor=network,
        device=torch.device("cpu"),
        use_dataparallel=False,
        verbose=False,
    )
    assert base_of(pair, "clean-fid") == pytest.approx(expected, abs=NEAR["rfid"])


def base_of(pair: Folders, tool: str, target: str = "rfid=-2") -> float:
    """Return the value under the protocol of ``tool`` alone, by a target out of the metric's range."""
    base = search(pair, target, tool).base
    assert base is not None
    return base


def test_images_are_larger_than_inceptions_input(pair: Folders) -> None:
    """Antialiasing does nothing to images that are enlarged: these are made smaller."""
    assert min(Image.open(next(pair[0].iterdir())).size) > 299
