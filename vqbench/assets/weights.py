"""Rename published weights to the names of the libraries that use them."""

from __future__ import annotations

import numpy as np

from vqbench.assets.content import Arrays

VGG16_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # positions in torchvision's ``features``
ALEXNET_CONVOLUTIONS = (0, 3, 6, 8, 10)

_STEM = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
}
_DOUBLE_3X3 = {"tower_1_conv": "3x3dbl_1", "tower_1_conv_1": "3x3dbl_2", "tower_1_conv_2": "3x3dbl_3"}
_BLOCK_A = {"conv": "1x1", "tower_conv": "5x5_1", "tower_conv_1": "5x5_2", **_DOUBLE_3X3, "tower_2_conv": "_pool"}
_BLOCK_B = {"conv": "3x3", "tower_conv": "3x3dbl_1", "tower_conv_1": "3x3dbl_2", "tower_conv_2": "3x3dbl_3"}
_BLOCK_C = {
    "conv": "1x1",
    "tower_conv": "7x7_1",
    "tower_conv_1": "7x7_2",
    "tower_conv_2": "7x7_3",
    "tower_1_conv": "7x7dbl_1",
    "tower_1_conv_1": "7x7dbl_2",
    "tower_1_conv_2": "7x7dbl_3",
    "tower_1_conv_3": "7x7dbl_4",
    "tower_1_conv_4": "7x7dbl_5",
    "tower_2_conv": "_pool",
}
_BLOCK_D = {
    "tower_conv": "3x3_1",
    "tower_conv_1": "3x3_2",
    "tower_1_conv": "7x7x3_1",
    "tower_1_conv_1": "7x7x3_2",
    "tower_1_conv_2": "7x7x3_3",
    "tower_1_conv_3": "7x7x3_4",
}
_BLOCK_E = {
    "conv": "1x1",
    "tower_conv": "3x3_1",
    "tower_mixed_conv": "3x3_2a",
    "tower_mixed_conv_1": "3x3_2b",
    "tower_1_conv": "3x3dbl_1",
    "tower_1_conv_1": "3x3dbl_2",
    "tower_1_mixed_conv": "3x3dbl_3a",
    "tower_1_mixed_conv_1": "3x3dbl_3b",
    "tower_2_conv": "_pool",
}
_MIXED = {
    "mixed": ("Mixed_5b", _BLOCK_A),
    "mixed_1": ("Mixed_5c", _BLOCK_A),
    "mixed_2": ("Mixed_5d", _BLOCK_A),
    "mixed_3": ("Mixed_6a", _BLOCK_B),
    "mixed_4": ("Mixed_6b", _BLOCK_C),
    "mixed_5": ("Mixed_6c", _BLOCK_C),
    "mixed_6": ("Mixed_6d", _BLOCK_C),
    "mixed_7": ("Mixed_6e", _BLOCK_C),
    "mixed_8": ("Mixed_7a", _BLOCK_D),
    "mixed_9": ("Mixed_7b", _BLOCK_E),
    "mixed_10": ("Mixed_7c", _BLOCK_E),
}
_VALUES = {"weight": "conv.weight", "beta": "bn.bias", "mean": "bn.running_mean", "var": "bn.running_var"}


def inception_from_script(tensors: Arrays) -> Arrays:
    """Rename FID's Inception-v3 from TensorFlow's names to torch-fidelity's.

    The tensors are those of a TorchScript archive. Its batch norms have no scale, so that ``bn.weight`` is 1; its
    classifier is not among the tensors.
    """
    named: Arrays = {}
    for path, value in tensors.items():
        layer, _, kind = path.removeprefix("net.layers.").rpartition(".")
        name = _inception_layer(layer)
        named[f"{name}.{_VALUES[kind]}"] = value
        if kind == "beta":
            named[f"{name}.bn.weight"] = np.ones_like(value)
    return named


def _inception_layer(layer: str) -> str:
    """Rename a layer: ``mixed_9.tower_conv`` to ``Mixed_7b.branch3x3_1``.

    Dots and underscores between branches mean the same.
    """
    if layer in _STEM:
        return _STEM[layer]
    block, _, branch = layer.partition(".")
    name, branches = _MIXED[block]
    return f"{name}.branch{branches[branch.replace('.', '_')]}"


def inception_from_checkpoint(state: Arrays) -> Arrays:
    """Drop classifier and batch counters of FID's Inception-v3.

    As published by pytorch-fid and torch-fidelity.
    """
    return {k: v for k, v in state.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}


def efficientnet_from_checkpoint(state: Arrays) -> Arrays:
    """Drop batch counters of EfficientNet-Lite0, and underscores before names.

    ``_blocks.0._bn1.weight`` becomes ``blocks.0.bn1.weight``.
    """
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return {name.removeprefix("_").replace("._", "."): value for name, value in kept.items()}


def trunk_from_checkpoint(state: Arrays) -> Arrays:
    """Return the ``features.*`` of a torchvision classifier, LPIPS' trunk."""
    return {name: value for name, value in state.items() if name.startswith("features.")}


def trunk_from_flax(layers: dict[str, dict[str, np.ndarray]], places: tuple[int, ...]) -> Arrays:
    """Rename Flax layers ``Conv_i`` to ``features.*``.

    Kernels are transposed from (H, W, in, out) to (out, in, H, W).
    """
    named: Arrays = {}
    for i, place in enumerate(places):
        layer = layers[f"Conv_{i}"]
        named[f"features.{place}.weight"] = np.ascontiguousarray(np.asarray(layer["kernel"]).transpose(3, 2, 0, 1))
        named[f"features.{place}.bias"] = np.asarray(layer["bias"])
    return named
