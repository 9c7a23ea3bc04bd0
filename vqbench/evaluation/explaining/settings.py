"""Every setting that moves a value of a metric: what it is, and when it applies.

A setting is a field of :class:`Conditions`; a metric's ``knobs`` name those that can move it. Without torch at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from vqbench.evaluation.explaining.protocol_differences import word
from vqbench.protocol import Knob, MeasureProtocol, own_fid_input

if TYPE_CHECKING:
    from vqbench.metric import Metric

ALEXNET = 31  # side in pixels below which AlexNet leaves nothing of an image


PARTNERS, OTHER = "originals", "other"  # values of ``reference``
FEWEST = 2  # images of which a part is tried
ROUND_NUMBERS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)  # of images, as papers evaluate


@dataclass(frozen=True)
class Conditions(MeasureProtocol):
    """A protocol, and what else decides a value of given images."""

    originals: str = "given"  # how larger ones are prepared
    reference: str = PARTNERS  # the images that FID and KID compare reconstructions with
    images: int = 0  # the first ones, by name; 0 for all, whatever their number

    def knobs(self) -> dict[str, Knob]:
        own = {
            "originals": _ORIGINALS_REASONS[self.originals],
            "reference": _REFERENCE_REASONS[self.reference],
            "images": f"the first {self.images:,} images, by name" if self.images else "all images",
        }
        shared = replace(self.protocol(), name=self.name).knobs()
        return shared | {name: Knob(getattr(self, name), reason) for name, reason in own.items()}

    def protocol(self) -> MeasureProtocol:
        """Return the settings that a protocol has."""
        return MeasureProtocol(**{field.name: getattr(self, field.name) for field in fields(MeasureProtocol)})


_ORIGINALS_REASONS = {
    "given": "originals have the size of their reconstructions",
    "resize:bicubic": "shorter side by Pillow's bicubic filter, antialiased, then the centre",
    "resize:bilinear": "shorter side by Pillow's bilinear filter, antialiased, then the centre",
    "resize:lanczos": "shorter side by Pillow's Lanczos filter, antialiased, then the centre",
    "resize:aliased": "shorter side by PyTorch's bilinear without antialiasing, then the centre",
    "squash:bicubic": "both sides by Pillow's bicubic filter, whatever the aspect",
    "crop": "the centre, without a resize; what is too small is enlarged first",
}
_REFERENCE_REASONS = {
    PARTNERS: "reconstructions are compared with their originals",
    OTHER: "reconstructions are compared with the images of --other-reference, such as another split",
}


@dataclass(frozen=True)
class Inputs:
    """Facts about the images that decide which settings apply to them."""

    images: int
    height: int  # of reconstructions, in pixels
    width: int
    channels: int = 3
    eight_bits: bool = False  # both sides are files or arrays of 8 bits
    larger: bool = False  # originals are larger than their reconstructions
    references: int | None = None  # number of other images to compare with; None without any
    of_run: bool = False  # reconstructions of a trained model, computed now


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
        Setting("fid_resize", "the resize before Inception", (None, 229, "pytorch", "pillow", "clean", "torchmetrics")),
        Setting("fid_input", "what Inception is given for a level x", (None, "x/128-1", "x/127.5-1")),
        Setting("reference", "the images that FID and KID compare reconstructions with", (PARTNERS, OTHER)),
        Setting("images", "the number of images", ()),  # values depend on how many there are
    )
}
NOT_TRIED = {  # what no two sets of images can show -> the metrics that it moves
    "more images than these cannot be tried: FID of fewer is larger, so give as many as the printed number had": (
        "rfid",
    ),
}


def values_of(setting: Setting, inputs: Inputs) -> tuple[Any, ...]:
    """List the values to try on these images: of ``images``, half and round numbers."""
    if setting.knob != "images":
        return setting.values
    parts = {inputs.images // 2, *ROUND_NUMBERS}
    return tuple(sorted(part for part in parts if FEWEST <= part < inputs.images))


def conditions(protocol: MeasureProtocol, inputs: Inputs) -> Conditions:
    """Return ``protocol`` for these images; larger originals are resized."""
    values = {field.name: getattr(protocol, field.name) for field in fields(MeasureProtocol)}
    return Conditions(**values, originals="resize:bicubic" if inputs.larger else "given", images=inputs.images)


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


def given(knob: str, value: Any, base: MeasureProtocol) -> bool:
    """Return whether a setting of ``base`` is ``value`` already."""
    current = getattr(base, knob)
    if knob == "fid_input":
        own = own_fid_input(base.fid_resize)
        value, current = value or own, current or own
    return bool(value == current)


def moves(knob: str, metric: type[Metric]) -> bool:
    """Return whether a setting can move ``metric``."""
    if knob == "reference":
        return metric.of_sets
    return knob in metric.knobs or (knob in ("originals", "images") and "colour" in metric.knobs)


def obstacle(knob: str, value: Any, base: MeasureProtocol, inputs: Inputs) -> str:
    """Return why a setting of ``base`` cannot be ``value``, or empty."""
    if reason := _obstacle_of_inputs(knob, inputs):
        return reason
    if knob == "pixels" and value == "float" and base.jpeg is not None:
        return "pixels cannot be float alone: a JPEG round trip needs pixels of 8 bits"
    if knob == "pixels" and inputs.eight_bits and {value, base.pixels} <= {"float", "round"}:
        return "pixels does not apply between float and round: the images have 8 bits already"
    side, smallest = min(inputs.height, inputs.width), 0
    if knob == "lpips_net" and value == "alex":
        smallest = ALEXNET
    if knob == "ssim":
        smallest = 7 if value == "uniform7" else 11
    if side < smallest:
        return f"{knob} cannot be {value}: that needs images of {smallest}x{smallest} pixels, and these have {side}"
    return ""


def _obstacle_of_inputs(knob: str, inputs: Inputs) -> str:
    """Return why these inputs leave no choice of a setting, or empty."""
    if knob == "originals" and not inputs.larger:
        return "originals does not apply: originals and reconstructions are of one size"
    if knob == "colour" and inputs.channels == 1:
        return "colour does not apply: the images are grey"
    if knob in ("reference", "images") and inputs.of_run:
        return f"{knob} is not changed for a run; for the images that `vqbench export` writes it is"
    if knob == "reference" and inputs.references is None:
        return "reference is not tried: which split a number was of is unknown; --other-reference FOLDER tries another"
    return ""
