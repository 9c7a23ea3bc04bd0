"""Named protocols: how a run is trained, and how it is measured.

These are two independent choices. ``official`` is what the released code of "Online Clustered Codebook" (Zheng and
Vedaldi, ICCV 2023, arXiv 2307.15139) does, oddities included, so that our numbers are comparable with the printed ones;
``clean`` is how it should be done. The name of every stored value contains that of its measuring protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from vqbench.errors import UsageError, nearest


@dataclass(frozen=True)
class Knob:
    """One setting of a protocol, with the reason for its value."""

    value: Any
    reason: str


_SHARED = {
    "epochs": Knob(500, "paper, appendix: 500 epochs"),
    "batch_size": Knob(1024, "paper, appendix: 1,024 images an update; the last, partial batch of an epoch is kept"),
    "learning_rate": Knob(3e-4, "released code: Adam, betas 0.9 and 0.999, constant, no weight decay, no clipping"),
}


@dataclass(frozen=True)
class TrainProtocol:
    """How a run is trained: a recipe, and settings with their reasons.

    The settings are arguments of the recipe.
    """

    name: str
    summary: str
    recipe: str
    settings: Mapping[str, Knob]

    def args(self) -> dict[str, Any]:
        """The arguments of the recipe."""
        return {name: knob.value for name, knob in self.settings.items()}


_RECIPE = "autoencoder"
_OFFICIAL = TrainProtocol(
    name="official",
    summary="bug for bug as the released code trains",
    recipe=_RECIPE,
    settings=_SHARED
    | {
        "variance": Knob(
            "unit",
            "released code: the error of images in [-1, 1] is divided by the variance of pixels in [0, 1], so the "
            "reconstruction weighs four times what the formula says",
        ),
        "selection": Knob(
            "test", "released code: the test split is the validation split; its last partial batch is dropped"
        ),
        "selection_pass": Knob(
            "train",
            "released code: eval() is never called, so the pass over the test split, and a pass over 32 of its "
            "images for a preview, move usage statistics and put test features into the codebook",
        ),
    },
)
_CLEAN = TrainProtocol(
    name="clean",
    summary="evaluation mode, matched variance, selection on held-out training images",
    recipe=_RECIPE,
    settings=_SHARED
    | {
        "variance": Knob("matched", "error and variance on the same scale, [-1, 1], as the formula means it"),
        "selection": Knob("holdout", "the best epoch by training images that are held out; the test split is unseen"),
        "selection_pass": Knob("eval", "evaluation changes nothing"),
    },
)

TRAIN: Mapping[str, TrainProtocol] = {protocol.name: protocol for protocol in (_OFFICIAL, _CLEAN)}


Colour = Literal["rgb", "grey", "grey601", "grey709", "y"]
FidResize = Literal["pytorch", "pillow", "clean", "torchmetrics"]
FidInput = Literal["x/128-1", "x/127.5-1"]


@dataclass(frozen=True)
class MeasureProtocol:
    """How reconstructions become values.

    The settings are those of the path from a model's images to its metrics.
    """

    name: str
    summary: str
    pixels: Literal["truncate", "round", "float"]  # to 8 bits by truncation or rounding, or left as float
    jpeg: int | None  # quality of a JPEG round trip of originals and reconstructions alike
    ssim: Literal["uniform", "gaussian", "uniform7"]  # window: 11x11, or 7x7
    fid_resize: int | FidResize | None  # a side: of an additional Pillow resize before the network's own
    lpips_net: Literal["vgg", "alex"] = "vgg"
    colour: Colour = "rgb"  # of the images that metrics compare
    psnr_range: float = 1.0  # what PSNR takes the largest pixel difference to be; pixels are in [0, 1]
    psnr_mean: Literal["image", "set"] = "image"  # mean of decibels per image, or decibels of the mean error
    ssim_range: float = 1.0
    ssim_border: Literal["valid", "reflect"] = "valid"  # positions where the window fits, or all of a mirrored image
    lpips_input: Literal["[-1, 1]", "[0, 1]"] = "[-1, 1]"
    fid_input: FidInput | None = (
        None  # what the network gets for a level x of 0 to 255; None: what the resize's tool has
    )
    VERSION: int = 1

    def knobs(self) -> dict[str, Knob]:
        """Every setting with the reason for its value."""
        skipped = ("name", "summary", "VERSION")
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in skipped}
        return {name: Knob(value, _MEASURE_REASONS[name, value]) for name, value in values.items()}


_MEASURE_REASONS: Mapping[tuple[str, Any], str] = {
    ("pixels", "truncate"): "released code: times 255 and cast, so 63 of 256 grey levels of an original drop by one",
    ("pixels", "float"): "no rounding; to 8 bits, rounded, only where a metric is defined on 8 bits (FID)",
    ("jpeg", 75): "released code: originals and reconstructions are saved as JPEG (quality 75, 4:2:0) and read back",
    ("jpeg", None): "no lossy step between the model and the metric",
    (
        "ssim",
        "uniform",
    ): "released code: uniform 11x11 window, sample covariance (scikit-image's defaults), grey as RGB",
    ("ssim", "gaussian"): "Wang et al. 2004: Gaussian window, sigma 1.5, 11x11, population covariance",
    (
        "fid_resize",
        229,
    ): "released code: Pillow bilinear to 229x229 (not 299), in 8 bits, then to 299 in the net",
    ("fid_resize", None): "torch-fidelity's path: one bilinear resize to 299x299, as in the original implementation",
    (
        "lpips_net",
        "vgg",
    ): "released code and most papers: LPIPS v0.1 on VGG16 at native size, input in [-1, 1]",
    ("lpips_net", "alex"): "LPIPS v0.1 on AlexNet, the variant its authors recommend as a metric",
    ("colour", "rgb"): "all three channels, as in papers on tokenizers; grey images as they are",
    ("psnr_range", 1.0): "pixels are in [0, 1]",
    ("psnr_mean", "image"): "the mean of the decibels of each image, as in papers on tokenizers",
    ("ssim_range", 1.0): "pixels are in [0, 1]",
    ("ssim_border", "valid"): "only positions where the window fits, as in scikit-image and the paper's code",
    ("lpips_input", "[-1, 1]"): "what the network was trained on",
    ("fid_input", None): "as the tool of `fid_resize`: from -1 to 0.992 (x/128-1), after Pillow and pytorch-fid to 1",
    # Values of no stored protocol, for `vqbench explain`:
    ("pixels", "round"): "to 8 bits by rounding, as images are saved",
    ("jpeg", 95): "originals and reconstructions are saved as JPEG of quality 95 and read back",
    ("ssim", "uniform7"): "scikit-image's default: uniform 7x7 window, sample covariance",
    ("fid_resize", "pytorch"): "pytorch-fid: PyTorch's bilinear to 299x299, half-pixel centres, no antialiasing",
    ("fid_resize", "pillow"): "Pillow's bilinear to 299x299, antialiased, in 8 bits",
    ("fid_resize", "clean"): "clean-fid: Pillow's bicubic to 299x299, antialiased, in floats",
    ("fid_resize", "torchmetrics"): "torchmetrics: PyTorch's bilinear to 299x299, antialiased, in floats",
    ("colour", "grey"): "Pillow's convert('L') and OpenCV: BT.601 weights, rounded to 8 bits",
    ("colour", "grey601"): "BT.601 weights of red, green and blue, in floats",
    ("colour", "grey709"): "scikit-image's rgb2gray: BT.709 weights, in floats",
    ("colour", "y"): "Y of YCbCr between 16 and 235, as MATLAB's rgb2ycbcr and papers on super-resolution",
    ("psnr_range", 2.0): "the range of [-1, 1], though pixels are in [0, 1]: 6.02 dB more",
    ("psnr_range", 255.0): "the range of 8 bits, though pixels are in [0, 1]: 48.13 dB more",
    ("psnr_mean", "set"): "the decibels of the mean squared error over all images, torchmetrics' default",
    ("ssim_range", 2.0): "the range of [-1, 1], though pixels are in [0, 1]: larger constants C1 and C2",
    ("ssim_range", 255.0): "the range of 8 bits, though pixels are in [0, 1]: SSIM near 1 for any pair",
    ("ssim_border", "reflect"): "all positions of an image mirrored at its borders, as torchmetrics",
    ("fid_input", "x/128-1"): "levels 0 to 255 become -1 to 0.992: TensorFlow's graph, torch-fidelity, clean-fid",
    ("fid_input", "x/127.5-1"): "levels 0 to 255 become -1 to 1: pytorch-fid",
    ("lpips_input", "[0, 1]"): "images in [0, 1] given to a network that expects [-1, 1]",
}


def own_fid_input(resize: int | FidResize | None) -> FidInput:
    """Return what the tool that resizes so gives Inception for a level x."""
    return "x/128-1" if resize in (None, "clean", "torchmetrics") else "x/127.5-1"


MEASURE: Mapping[str, MeasureProtocol] = {
    protocol.name: protocol
    for protocol in (
        MeasureProtocol(
            name="official",
            summary="as the released evaluation script measures: truncation, JPEG, uniform SSIM, 229-pixel FID",
            pixels="truncate",
            jpeg=75,
            ssim="uniform",
            fid_resize=229,
        ),
        MeasureProtocol(
            name="clean",
            summary="float pixels, Gaussian SSIM, torch-fidelity's FID",
            pixels="float",
            jpeg=None,
            ssim="gaussian",
            fid_resize=None,
        ),
    )
}


def training(name: str) -> dict[str, Any]:
    """Return the recipe's arguments under the training protocol ``name``.

    Raises UsageError for an unknown name.
    """
    if name not in TRAIN:
        raise UsageError(f"unknown training protocol {name!r}; {nearest(name, TRAIN)}")
    return TRAIN[name].args()


def measuring(name: str) -> MeasureProtocol:
    """Return the measuring protocol ``name``. Raises UsageError for an unknown name."""
    if name not in MEASURE:
        raise UsageError(f"unknown measuring protocol {name!r}; {nearest(name, MEASURE)}")
    return MEASURE[name]
