"""Inception-v3 as FID has it, and the features of its layer pool3."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vqbench import assets
from vqbench.images import rounded
from vqbench.networks.compat import ensure_torchvision
from vqbench.networks.precision import inference_float32
from vqbench.protocol import FidInput, FidResize, own_fid_input

DIM = 2048  # of pool3, the layer that FID is defined on
VERSION = 1  # raised by hand when a change here changes features, so that cached ones are computed again
INPUT = 299  # side of the network's input
CHUNK = 50  # images per pass through the network
LAYERS = (  # of torch-fidelity's extractor, from the image to pool3
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *(f"Mixed_{block}" for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
    "AvgPool",
)


@cache
def network(device: torch.device) -> nn.Module:
    """Return torch-fidelity's Inception-v3 for the 2048 features of pool3.

    It is the TensorFlow graph of 2015-12-05. Its classifier, which pool3 does not use, is zero. Raises AssetError if
    the weights cannot be obtained.
    """
    ensure_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    classifier = {"fc.weight": torch.zeros(1008, DIM), "fc.bias": torch.zeros(1008)}
    weights = io.BytesIO()  # torch-fidelity loads weights from a file only
    torch.save({**assets.tensors("inception_fid"), **classifier}, weights)
    weights.seek(0)
    with torch.random.fork_rng(devices=[]):  # its random initial weights must not advance the run's random state
        net: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
        )
    return net.to(device)


def features(net: nn.Module, images: Tensor, resize: int | FidResize | None, scale: FidInput | None = None) -> Tensor:
    """Compute features (B, 2048) float32, on the CPU.

    ``images`` are (B, C, H, W) in [0, 1]; they are rounded to 8 bits.

    ``resize`` None: torch-fidelity's path, one bilinear resize to 299 as TensorFlow 1 had it, in torch-fidelity's own
    memory layout, so that features are equal bit by bit (channels last is a third faster on CPUs, but moves rFID by
    1e-6 of its value). Else the path of CVQ-VAE's released code: Pillow's bilinear resize to that side, in 8 bits,
    and from there PyTorch's to 299, with channels last. Else a resize to 299 by name: ``pytorch`` (pytorch-fid),
    ``pillow`` (bilinear, 8 bits), ``clean`` (clean-fid: bicubic in floats, clipped to the range of levels) or
    ``torchmetrics`` (bilinear in floats, antialiased).

    ``scale``: what the network is given for a level; None for what the tool of ``resize`` gives it.
    """
    levels = rounded(images.expand(-1, 3, -1, -1))  # (B, 3, H, W) uint8
    with inference_float32(images.device):
        if resize is None and scale in (None, own_fid_input(None)):
            parts = [net(chunk)[0] for chunk in levels.split(CHUNK)]
        else:
            parts = [_pool3(net, _scaled(_resized(chunk, resize), resize, scale)) for chunk in levels.split(CHUNK)]
        return torch.cat(parts).cpu()


def _scaled(x: Tensor, resize: int | FidResize | None, scale: FidInput | None) -> Tensor:
    """Scale what :func:`_resized` gives from its own scale to ``scale``."""
    own = own_fid_input(resize)
    if scale in (None, own):
        return x
    factor = 128 / 127.5 if own == "x/128-1" else 127.5 / 128
    return (x + 1) * factor - 1


def _resized(levels: Tensor, resize: int | FidResize | None) -> Tensor:
    """Resize to the network's input, in the scale of the tool that does so.

    None as TensorFlow 1, a side by Pillow and then PyTorch. uint8 (B, 3, H, W) to (B, 3, 299, 299) in [-1, 1].
    """
    if resize is None:
        ensure_torchvision()
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        x: Tensor = interpolate_bilinear_2d_like_tensorflow1x(levels.float(), size=(INPUT, INPUT), align_corners=False)
        return ((x - 128) / 128).contiguous(memory_format=torch.channels_last)
    if resize == "clean":
        return _bicubic_floats(levels)
    if resize == "torchmetrics":
        size = (INPUT, INPUT)
        x = F.interpolate(levels.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        return ((x - 128) / 128).contiguous(memory_format=torch.channels_last)
    unit = levels.float() / 255
    if resize != "pytorch":
        side = INPUT if resize == "pillow" else int(resize)
        arrays = np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())  # (B, H, W, 3)
        small = [np.asarray(Image.fromarray(a).resize((side, side), Image.Resampling.BILINEAR)) for a in arrays]
        unit = torch.from_numpy(np.stack(small)).to(levels.device).permute(0, 3, 1, 2).float() / 255
    unit = unit.contiguous(memory_format=torch.channels_last)
    return 2 * F.interpolate(unit, size=(INPUT, INPUT), mode="bilinear", align_corners=False) - 1


def _bicubic_floats(levels: Tensor) -> Tensor:
    """Resize as clean-fid does: each channel by Pillow's bicubic filter, in floats.

    uint8 (B, 3, H, W) to (B, 3, 299, 299) in [-1, 1], by (level - 128) / 128.
    """
    channels = levels.cpu().float().flatten(0, 1).numpy()  # (B * 3, H, W)
    resized = [np.asarray(Image.fromarray(each).resize((INPUT, INPUT), Image.Resampling.BICUBIC)) for each in channels]
    x = torch.from_numpy(np.stack(resized)).clamp(0, 255).unflatten(0, (len(levels), 3)).to(levels.device)
    centred: Tensor = (x - 128) / 128
    return centred.contiguous(memory_format=torch.channels_last)


def _pool3(net: nn.Module, x: Tensor) -> Tensor:
    """Map (B, 3, 299, 299) in [-1, 1] to (B, 2048), without preprocessing."""
    for layer in LAYERS:
        x = getattr(net, layer)(x)
    return x.flatten(1)
