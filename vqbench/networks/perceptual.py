"""Perceptual distances between images, for the metric LPIPS and for losses."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vqbench import assets
from vqbench.networks.compat import ensure_torchvision

TRUNKS = {"vgg": "vgg16_lpips", "alex": "alexnet_lpips"}  # names in the catalogue of weights
SMALLEST = {"vgg": 16, "alex": 31}  # side in pixels of the smallest image that the last layer has positions for
EPS = 1e-10  # added to lengths, as in the package lpips


@cache
def network(trunk: str, device: torch.device) -> nn.Module:
    """Return ``lpips.LPIPS`` with its pretrained trunk, in evaluation mode.

    Raises AssetError if the weights cannot be obtained.
    """
    ensure_torchvision()
    import lpips

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision")  # lpips builds the trunk in torchvision's old way
        net = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    weights = assets.tensors(TRUNKS[trunk])
    names = {
        name: "features." + name.split(".", 1)[1] for name in net.net.state_dict()
    }  # of "slice1.0.weight" the part after the slice is the same
    net.net.load_state_dict({name: weights[source] for name, source in names.items()}, strict=True)
    net = net.eval().requires_grad_(False).to(device)
    module: nn.Module = net.to(memory_format=torch.channels_last) if device.type == "cpu" else net  # a tenth faster
    return module


def channel_weights(head: Any) -> Tensor:
    """Return the weights (channels,) of a head, a 1x1 convolution."""
    weight: Tensor = head.model[-1].weight
    return weight.flatten()


def maps(net: Any, images: Tensor) -> tuple[Tensor, ...]:
    """Compute the features of images, a map (B, channels, h, w) per layer.

    Images are (B, 1 or 3, S, S) in [-1, 1]; VGG16's layers are relu 1_2, 2_2, 3_3, 4_3 and 5_3.
    """
    return tuple(net.net(net.scaling_layer(images.expand(-1, 3, -1, -1))))


def lpips_distance(net: Any, images: Tensor, originals: Tensor) -> Tensor:
    """Compute LPIPS (B,) of images in [-1, 1], with a gradient to ``images``.

    The metric's own formula: squared differences of features of unit length, weighted by the heads, averaged over
    positions, summed over layers.
    """
    with torch.no_grad():
        targets = [unit_length(layer) for layer in maps(net, originals)]
    layers = maps(net, images)
    pairs = zip(net.lins, layers, targets, strict=True)
    return torch.stack(
        [(unit_length(x) - y).square().mean((2, 3)) @ channel_weights(head) for head, x, y in pairs]
    ).sum(0)


def layer_distances(net: Any, images: Tensor, originals: Tensor) -> Tensor:
    """Compute the mean squared difference of features, (layers, B).

    It has a gradient to ``images``.
    """
    with torch.no_grad():
        targets = [layer.float() for layer in maps(net, originals)]
    pairs = zip(maps(net, images), targets, strict=True)
    return torch.stack([(x.float() - y).square().mean((1, 2, 3)) for x, y in pairs])


def unit_length(layer: Tensor) -> Tensor:
    """Normalise a map (B, channels, h, w) to unit length at each position.

    A position whose features are all zero has a gradient of zero.
    """
    layer = layer.float()
    length: Tensor = torch.linalg.vector_norm(layer, dim=1, keepdim=True)
    return layer / (length + EPS)
