"""Every setting that moves a value of a metric: what it is, and when it applies.

A setting is a field of :class:`Conditions`; a metric's ``knobs`` name those that can move it. Without torch at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from vqbench.evaluation.explaining.protocol_differences import word
from vqbench.protocol import MeasureProtocol

if TYPE_CHECKING:
    from vqbench.metric import Metric

ALEXNET = 31  # side in pixels below which AlexNet leaves nothing of an image


@dataclass(frozen=True)
class Conditions(MeasureProtocol):
    """A protocol, and how larger originals are prepared."""

    originals: str = "given"


@dataclass(frozen=True)
class Inputs:
    """Facts about the images that decide which settings apply to them."""

    images: int
    height: int  # of reconstructions, in pixels
    width: int
    channels: int = 3
    eight_bits: bool = False  # both sides are files or arrays of 8 bits
    larger: bool = False  # originals are larger than their reconstructions


@dataclass(frozen=True)
class Setting:
    """One setting: what it is, and the values that are tried."""

    knob: str
    about: str
    values: tuple[Any, ...]


SETTINGS: Mapping[str, Setting] = {
    setting.knob: setting
    for setting in (
        Setting(
            "originals",
            "how larger originals are prepared",
            ("resize:bicubic", "resize:bilinear", "resize:lanczos", "resize:aliased", "squash:bicubic", "crop"),
        ),
        Setting("pixels", "the step to 8 bits", ("float", "round", "truncate")),
        Setting("jpeg", "the quality of a JPEG round trip of both images", (None, 75, 95)),
        Setting("colour", "the channels that are compared", ("rgb", "grey", "grey601", "grey709", "y")),
        Setting("psnr_range", "the range of pixels that PSNR assumes", (1.0, 2.0, 255.0)),
        Setting("psnr_mean", "PSNR per image, or of the mean error of all", ("image", "set")),
        Setting("ssim", "the window of SSIM", ("gaussian", "uniform", "uniform7")),
        Setting("ssim_range", "the range of pixels that SSIM assumes", (1.0, 2.0, 255.0)),
        Setting("ssim_border", "the positions that SSIM averages", ("valid", "reflect")),
        Setting("lpips_net", "the network of LPIPS", ("vgg", "alex")),
        Setting("lpips_input", "the range of what LPIPS's network is given", ("[-1, 1]", "[0, 1]")),
        Setting("fid_resize", "the resize before Inception", (None, 229, "pytorch", "pillow", "clean")),
    )
}
NOT_TRIED = {  # settings that no two sets of images can show -> the metrics that they move
    "the reference split is not tried: it is known only to who printed the number": ("rfid", "kid"),
    "the number of images is not tried: FID of fewer images is larger, so give as many as the printed number had": (
        "rfid",
    ),
}


def conditions(protocol: MeasureProtocol, inputs: Inputs) -> Conditions:
    """Return ``protocol`` for these images; larger originals are resized."""
    values = {field.name: getattr(protocol, field.name) for field in fields(MeasureProtocol)}
    return Conditions(**values, originals="resize:bicubic" if inputs.larger else "given")


def changed(base: Conditions, settings: Mapping[str, Any]) -> Conditions:
    """Return ``base`` with other ``settings``, which become part of its name.

    A JPEG of float pixels is one of rounded pixels.
    """
    values = dict(settings)
    pixels = values.get("pixels", base.pixels)
    if values.get("jpeg", base.jpeg) is not None and pixels == "float":
        values["pixels"] = "round"
    name = "+".join([base.name, *(f"{knob}={word(value)}" for knob, value in settings.items())])
    return replace(base, name=name, summary=f"{name}, to explain numbers", **values)


def moves(knob: str, metric: type[Metric]) -> bool:
    """Return whether a setting can move ``metric``."""
    return knob in metric.knobs or (knob == "originals" and "colour" in metric.knobs)


def obstacle(knob: str, value: Any, base: MeasureProtocol, inputs: Inputs) -> str:
    """Return why a setting of ``base`` cannot be ``value``, or empty."""
    if knob == "originals" and not inputs.larger:
        return "originals does not apply: originals and reconstructions are of one size"
    if knob == "pixels" and value == "float" and base.jpeg is not None:
        return "pixels cannot be float alone: a JPEG round trip needs pixels of 8 bits"
    if knob == "pixels" and inputs.eight_bits and {value, base.pixels} <= {"float", "round"}:
        return "pixels does not apply between float and round: the images have 8 bits already"
    if knob == "colour" and inputs.channels == 1:
        return "colour does not apply: the images are grey"
    side, smallest = min(inputs.height, inputs.width), 0
    if knob == "lpips_net" and value == "alex":
        smallest = ALEXNET
    if knob == "ssim":
        smallest = 7 if value == "uniform7" else 11
    if side < smallest:
        return f"{knob} cannot be {value}: that needs images of {smallest}x{smallest} pixels, and these have {side}"
    return ""
