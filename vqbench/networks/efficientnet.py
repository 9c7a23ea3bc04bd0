"""EfficientNet-Lite0, a classifier of ImageNet, for metrics of what images show."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench import assets
from vqbench.networks.precision import inference_float32

ASSET = "efficientnet_lite0"  # its name in the catalogue of weights
INPUT = 224  # side in pixels of the network's input
LEVEL_MEAN, LEVEL_SCALE = 127, 128  # of 8-bit levels, in the builder of the released network
STEM = 32  # channels of the first convolution
STAGES = (  # blocks, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
DIM = 1280  # of the pooled features, the input of the classifier
CLASSES = 1000
BN_EPS = 1e-3
CHUNK = 32  # images per pass through the network


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding ``same``.

    Maps have sides that the stride divides. With a stride of 2, one zero more comes after the map than before it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        before = (kernel - stride) // 2
        symmetric = before if stride == 1 else 0  # which the convolution pads itself
        super().__init__(inputs, outputs, kernel, stride, symmetric, groups=groups, bias=False)
        self.margins = (before, kernel - stride - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.stride[0] == 1 else F.pad(x, self.margins))


class InvertedBottleneck(nn.Module):
    """Expansion, depthwise convolution and projection.

    There is no squeeze-and-excitation. The input is added where its shape is the output's.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self.expand_conv = SameConv2d(inputs, inner, 1)
            self.bn0 = nn.BatchNorm2d(inner, BN_EPS)
        self.depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.bn1 = nn.BatchNorm2d(inner, BN_EPS)
        self.project_conv = SameConv2d(inner, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs, BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-B0 with ReLU6 and without squeeze-and-excitation.

    Args:
        weights: Parameters, and means and variances of the batch norms, by the names of this module.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):  # draws no random weights
            self._build()
        counters = {name: torch.zeros((), dtype=torch.long) for name in self.state_dict() if name.endswith("_tracked")}
        self.load_state_dict({**weights, **counters}, strict=True, assign=True)

    def _build(self) -> None:
        self.conv_stem = SameConv2d(3, STEM, 3, stride=2)
        self.bn0 = nn.BatchNorm2d(STEM, BN_EPS)
        blocks, channels = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for number in range(count):
                blocks.append(InvertedBottleneck(channels, outputs, kernel, 1 if number else stride, expansion))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = SameConv2d(channels, DIM, 1)
        self.bn1 = nn.BatchNorm2d(DIM, BN_EPS)
        self.fc = nn.Linear(DIM, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Compute the pooled features of inputs (B, 3, 224, 224).

        They are (B, 1280) in [0, 6].
        """
        x = F.relu6(self.bn0(self.conv_stem(x)))
        x = F.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, 1000) of network inputs (B, 3, 224, 224)."""
        logits: Tensor = self.fc(self.features(x))
        return logits


@cache
def network(device: torch.device) -> EfficientNetLite0:
    """Return EfficientNet-Lite0 with its pretrained weights, in evaluation mode.

    Raises AssetError if the weights cannot be obtained.
    """
    net: Any = EfficientNetLite0(assets.tensors(ASSET)).eval().requires_grad_(False)
    channels_last: EfficientNetLite0 = net.to(device).to(memory_format=torch.channels_last)  # a third faster on CPUs
    return channels_last


def network_input(images: Tensor) -> Tensor:
    """Resize images (B, 1 or 3, H, W) in [0, 1] to network inputs (B, 3, 224, 224).

    By a bicubic filter that widens with the reduction, as Pillow's does, but in floats, clipped to the range of levels.
    Sides that differ are both resized to 224.
    """
    size = (INPUT, INPUT)
    x = F.interpolate(images.expand(-1, 3, -1, -1), size, mode="bicubic", align_corners=False, antialias=True)
    return (255 * x.clamp(0, 1) - LEVEL_MEAN) / LEVEL_SCALE


def image_features(net: EfficientNetLite0, images: Tensor) -> Tensor:
    """Compute the pooled features (B, 1280) of images, on their device.

    Images are (B, 1 or 3, H, W) in [0, 1].
    """
    with inference_float32(images.device):
        return torch.cat([net.features(network_input(chunk)) for chunk in images.split(CHUNK)])


def predicted_classes(net: EfficientNetLite0, features: Tensor) -> Tensor:
    """Return the class with the largest logit, (B,) int64 in [0, 1000).

    ``features`` are (B, 1280).
    """
    with inference_float32(features.device):
        classes: Tensor = net.fc(features).argmax(1)
    return classes
