"""Check values per image, of ideal and odd images, and of too few."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from vqbench.conformance.metrics.case import (
    MetricCase,
    beats,
    chosen,
    is_ideal,
    number,
    of_reconstructions,
    pieces,
    without_codes,
)
from vqbench.conformance.metrics.sum_checks import close
from vqbench.conformance.outcome import Check, Fail, Skip
from vqbench.errors import RunError
from vqbench.protocol import measuring

NOISE = {0: "noisy", 1: "brightened", -1: "darkened"}  # sign -> what images become by noise of it


def images_agree_with_total(case: MetricCase) -> None:
    """The mean of the values per image is the value, and no batch changes them.

    They are (B,) float64 on the CPU.
    """
    batch = case.batch()
    metric = case.metric(batch)
    values = metric.update(batch)
    if values is None:
        raise Skip("has no values per image")
    if values.shape != (len(batch.index),) or values.dtype != torch.float64 or values.device.type != "cpu":
        raise Fail(
            f"values per image are {str(values.dtype).removeprefix('torch.')} {tuple(values.shape)} on {values.device}",
            "return (B,) float64 on the CPU from update(), or None",
        )
    mean, total = float(values.mean()), number(metric.compute())
    if not close(mean, total):
        raise Fail(
            f"the values per image have the mean {mean:g}, the value is {total:g}",
            "return None from update() where the value is no mean over images: statistics would be of another number",
        )
    parts = [case.metric(batch).update(piece) for piece in pieces(batch, (1,) * len(batch.index))]
    alone = torch.cat([part for part in parts if part is not None])  # (B,)
    if alone.shape != values.shape or not torch.allclose(alone, values, rtol=1e-5):
        raise Fail("an image alone has another value than in a batch", "let the value of an image depend on it alone")


def identical_images_are_ideal(case: MetricCase) -> None:
    """Reconstructions that equal the originals give the declared ideal value."""
    ideal = case.cls.ideal
    if ideal is None:
        raise Skip("declares no value that identical images have; if one exists, declare it: ideal = 0.0")
    value = case.value(case.batch(noise=0))
    if not is_ideal(value, ideal):
        raise Fail(
            f"identical images give {value:g}, but `ideal` is {ideal:g}", "correct the value, or what is declared"
        )


def no_image_beats_ideal(case: MetricCase) -> None:
    """No noisy reconstructions give a better value than the declared ideal one.

    Of noise of both signs, noise that brightens and noise that darkens, and with the originals in their place.
    """
    ideal, better = case.cls.ideal, case.cls.better
    if ideal is None:
        raise Skip("declares no ideal value, see `identical_images_are_ideal`")
    for sign, noise in NOISE.items():
        batch = case.batch(sign=sign)
        swapped = replace(batch, originals=batch.reconstructions, reconstructions=batch.originals)
        for what, each in {f"{noise} reconstructions": batch, f"reconstructions of {noise} originals": swapped}.items():
            value = case.value(each)
            if beats(value, ideal, better):
                raise Fail(
                    f"{what} give {value:g}, better than `ideal` = {ideal:g}: `better` is {better!r}",
                    "take absolute values or squares of differences, or correct `ideal`",
                )


def worse_images_are_worse(case: MetricCase) -> None:
    """More noise in the reconstructions gives a worse value, as ``better`` says.

    Noise of both signs, noise that brightens and noise that darkens.
    """
    if case.cls.needs_codes or case.cls.needs_model:
        raise Skip("measures codes or features, not pixels")
    for sign, noise in NOISE.items():
        good, bad = case.value(case.batch(noise=0.02, sign=sign)), case.value(case.batch(noise=0.5, sign=sign))
        if not (bad > good if case.cls.better == "min" else bad < good):
            raise Fail(
                f"slightly {noise} reconstructions give {good:g}, very {noise} ones {bad:g}, but `better` is "
                f"{case.cls.better!r}",
                "correct the sign, or `better`; an error is no difference with a sign",
            )


def plain_images(case: MetricCase) -> None:
    """Black, white and constant images have finite values, never NaN.

    Where a reconstruction is perfect, the value may be infinite.
    """
    batch = case.batch()
    for name, level in {"black": 0.0, "white": 1.0, "constant": 0.25}.items():
        plain = torch.full_like(batch.originals, level)
        for what, other in {"perfect": plain, "imperfect": batch.reconstructions}.items():
            value = case.value(replace(batch, originals=plain, reconstructions=other))
            if math.isnan(value) or (math.isinf(value) and (what == "imperfect" or value != case.cls.ideal)):
                raise Fail(
                    f"{name} images with a {what} reconstruction give {value:g}",
                    "bound denominators and logarithms away from zero, or declare the infinite `ideal`",
                )


def sizes_and_channels(case: MetricCase) -> None:
    """Grey and colour of odd and of the smallest size have finite values.

    Tiled grey gives the value of three equal channels.
    """
    smallest = max(8, case.cls.smallest(measuring(case.protocol)))
    for side in dict.fromkeys((smallest, case.side + 5)):
        for channels in (1, 3):
            value = case.value(case.batch(side=side, channels=channels))
            if not math.isfinite(value):
                raise Fail(
                    f"images of {channels} channels and {side} pixels give {value:g}",
                    "take channels and size from the batch; smallest() says which sizes are too small",
                )
    grey = case.batch(channels=1)
    x, y = (each.expand(-1, 3, -1, -1) for each in (grey.originals, grey.reconstructions))
    views, copies = (
        replace(grey, originals=x, reconstructions=y),
        replace(grey, originals=x.contiguous(), reconstructions=y.contiguous()),
    )
    first, second = case.value(views), case.value(copies)
    if not close(first, second):
        raise Fail(
            f"grey tiled by a view gives {first:g}, in three copies {second:g}",
            "see vqbench.images.distinct: channels may be three views of one",
        )


def too_few_images(case: MetricCase) -> None:
    """With ``fewest`` images a value exists; with fewer, RunError says so."""
    fewest = int(case.cls.fewest)
    batch = case.batch()
    value = case.value(chosen(batch, torch.arange(fewest)))
    if not math.isfinite(value):
        raise Fail(f"{fewest} images give {value:g}, but `fewest` is {fewest}", "declare how many images a value needs")
    if fewest == 1:
        return
    try:
        value = case.value(chosen(batch, torch.arange(fewest - 1)))
    except RunError:
        return
    raise Fail(
        f"{fewest - 1} of at least {fewest} images give {value:g}",
        "raise vqbench.errors.RunError in compute(), with a sentence that says how many are needed",
    )


def runs_without_codes(case: MetricCase) -> None:
    """Without a codebook, a metric of codes is None and others have a value."""
    batch = without_codes(case.batch())
    metric = case.metric(batch, quantized=False)
    metric.update(batch)
    value = metric.compute()
    if case.cls.needs_codes and value is not None:
        raise Fail(f"a run without codes gives {value:g}", "return None where context.num_codes is None")
    if not case.cls.needs_codes and (value is None or not math.isfinite(value)):
        raise Fail(f"a run without codes gives {value}", "declare needs_codes = True, or do not use codes")


CHECKS = tuple(
    Check(each, applies=of_reconstructions)
    for each in (
        images_agree_with_total,
        identical_images_are_ideal,
        no_image_beats_ideal,
        worse_images_are_worse,
        plain_images,
        sizes_and_channels,
        too_few_images,
        runs_without_codes,
    )
)
