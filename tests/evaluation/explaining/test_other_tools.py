"""Protocols of other tools: their numbers are those of the tools, on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import metrics

from tests.evaluation.explaining.test_planted_settings import SIDE, arrays, pair, photographs, search
from vqbench.errors import AssetError, UsageError
from vqbench.evaluation.explaining.other_tools import OTHER_TOOLS, named_protocol
from vqbench.evaluation.explaining.settings import SETTINGS
from vqbench.networks import inception, perceptual
from vqbench.protocol import own_fid_input

__all__ = ["pair"]  # fixture

TOLERANCES = {"psnr": 2e-5, "ssim": 2e-6}


def of_tool(tool: str, metric: str, originals: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Compute a metric as ``tool`` does, by scikit-image's functions."""
    pairs = [(a / 255, b / 255) for a, b in zip(originals, others, strict=True)]
    if metric == "psnr":
        return float(np.mean([metrics.peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]))
    data_range = 2 if tool == "llamagen" else 1
    options: dict[str, Any] = {"channel_axis": 2, "data_range": data_range}
    return float(np.mean([metrics.structural_similarity(a, b, **options) for a, b in pairs]))


@pytest.mark.parametrize("tool", ["scikit-image", "llamagen"])
@pytest.mark.parametrize("metric", ["psnr", "ssim"])
def test_values_are_those_of_the_tool(tool: str, metric: str, pair: tuple[Path, Path]) -> None:
    """scikit-image's defaults, and LlamaGen's arithmetic, give the value of the protocol of that name."""
    expected = of_tool(tool, metric, *arrays(pair))
    assert search(pair, f"{metric}=-2", tool).base == pytest.approx(expected, abs=TOLERANCES[metric])


@pytest.mark.parametrize("tool", sorted(OTHER_TOOLS))
def test_every_protocol_has_a_source_and_reasons(tool: str) -> None:
    """Each says where it is from, and each of its settings is one that explain knows and gives a reason for."""
    found = OTHER_TOOLS[tool]
    assert found.source
    assert found.metrics
    for knob, value in named_protocol(tool).knobs().items():
        assert value.reason
        assert value.value in SETTINGS[knob].values


def test_an_unknown_tool_is_refused() -> None:
    """A misspelt name lists the nearest and all others."""
    with pytest.raises(UsageError, match="pytorch-fid"):
        named_protocol("pytorch_fid")


def test_resizes_of_fid_are_those_of_the_tools() -> None:
    """clean-fid resizes by Pillow's bicubic filter in floats, pytorch-fid by PyTorch's bilinear, not antialiased."""
    levels = torch.from_numpy(np.stack(photographs()[:2])).permute(0, 3, 1, 2)
    clean = inception._resized(levels, "clean")
    channel = Image.fromarray(levels[1, 2].float().numpy()).resize((299, 299), Image.Resampling.BICUBIC)
    expected = (np.asarray(channel).clip(0, 255) - 128) / 128
    assert np.allclose(clean[1, 2].numpy(), expected, atol=1e-6)
    plain = torch.nn.functional.interpolate(levels / 255, (299, 299), mode="bilinear", align_corners=False)
    assert torch.allclose(inception._resized(levels, "pytorch"), 2 * plain - 1, atol=1e-6)
    smooth = torch.nn.functional.interpolate(levels.float(), (299, 299), mode="bilinear", antialias=True)
    assert torch.allclose(inception._resized(levels, "torchmetrics"), (smooth - 128) / 128, atol=1e-6)
    pillow = Image.fromarray(photographs()[0]).resize((299, 299), Image.Resampling.BILINEAR)
    assert np.allclose(
        inception._resized(levels, "pillow")[0, 1].numpy(), np.asarray(pillow)[..., 1] / 127.5 - 1, atol=1e-6
    )


@pytest.mark.parametrize("resize", [None, 229, "pytorch", "pillow", "clean", "torchmetrics"])
def test_inputs_of_inception_are_scaled_as_named(resize: Any) -> None:
    """Each resize has the scale of its tool, and is brought to the other one."""
    levels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(-1, 3, 32, 32)
    expected = {"x/128-1": [-1, 0, 127 / 128], "x/127.5-1": [-1, 1 / 255, 1]}
    for scale in (None, "x/128-1", "x/127.5-1"):
        x = inception._scaled(inception._resized(levels, resize), resize, scale)
        assert x.shape == (3, 3, 299, 299)
        of = torch.tensor(expected[scale or own_fid_input(resize)]).view(3, 1, 1, 1).expand_as(x)
        torch.testing.assert_close(x, of, atol=1e-6, rtol=0)


@pytest.mark.slow
@torch.no_grad()
def test_the_usual_path_is_the_one_by_its_pieces() -> None:
    """torch-fidelity's features are those of its resize and its scale, and differ from those of the other scale."""
    try:
        net = inception.network(torch.device("cpu"))
    except AssetError as error:
        pytest.skip(f"the weights of FID are not to be had on this machine: {error}")
    images = torch.from_numpy(np.stack(photographs()[:2])).permute(0, 3, 1, 2).float() / 255
    usual = inception.features(net, images, None)
    pieces = inception._pool3(net, inception._resized((images * 255).round().to(torch.uint8), None))
    torch.testing.assert_close(pieces, usual, atol=1e-4, rtol=1e-4)
    assert torch.equal(inception.features(net, images, None, "x/128-1"), usual)
    assert (inception.features(net, images, None, "x/127.5-1") - usual).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("setting", [{"lpips_net": "alex"}, {"lpips_input": "[0, 1]"}])
def test_planted_settings_of_lpips(setting: dict[str, Any], pair: tuple[Path, Path]) -> None:
    """LPIPS of AlexNet, and of images in [0, 1], by the package lpips: each explains its number alone."""
    try:
        net = perceptual.network(setting.get("lpips_net", "vgg"), torch.device("cpu"))
    except AssetError as error:
        pytest.skip(f"the weights of LPIPS are not to be had on this machine: {error}")
    first, second = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 for images in arrays(pair))
    if "lpips_input" not in setting:
        first, second = 2 * first - 1, 2 * second - 1
    with torch.no_grad():
        value = float(net(first, second).mean())
    found = search(pair, f"lpips={value:.4f}")
    assert found.same[0].settings == setting
    assert found.same[0].value == pytest.approx(value, abs=3e-6)
    assert SIDE > 31
