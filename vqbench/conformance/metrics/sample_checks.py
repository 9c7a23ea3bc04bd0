"""Check metrics of generated images, which get all samples at once."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from vqbench.conformance.comparison import same
from vqbench.conformance.metrics.case import SEEDED, MetricCase, beats, features_of, is_ideal, of_samples
from vqbench.conformance.metrics.sum_checks import close
from vqbench.conformance.outcome import Check, Fail, Skip
from vqbench.errors import RunError


def sample_order_does_not_matter(case: MetricCase) -> None:
    """Samples and references in another order give the same value."""
    samples = case.samples()
    assert isinstance(samples.training, Tensor)
    draw = torch.Generator().manual_seed(3)
    images = samples.images[torch.randperm(len(samples.images), generator=draw)]
    training = samples.training[torch.randperm(len(samples.training), generator=draw)]
    mixed = replace(
        samples,
        images=images,
        training=training,
        features_of_samples=lambda: features_of(images),
        features_of_references=lambda: features_of(training),
    )
    first, second = case.measured(samples), case.measured(mixed)
    if not close(first, second):
        raise Fail(
            f"{first:g} in one order of images, {second:g} in another", "let no image's share depend on its place"
        )


def sample_value_repeats(case: MetricCase) -> None:
    """The same samples give the same value, bit for bit.

    No random generator is advanced, and no image changed.
    """
    before, kept = torch.get_rng_state(), case.samples()
    samples = case.samples()
    first, second = case.measured(samples), case.measured(case.samples())
    if not math.isfinite(first):
        raise Fail(f"{len(samples.images)} samples give {first:g}", "look for a division by zero")
    if not same(torch.tensor(first), torch.tensor(second)):
        raise Fail(f"the same samples give {first!r} and {second!r}", SEEDED)
    if not torch.equal(before, torch.get_rng_state()):
        raise Fail("torch's default generator was advanced", SEEDED)
    if not torch.equal(kept.images, samples.images) or not torch.equal(kept.features, samples.features):
        raise Fail("the samples are changed in place", "create new tensors: other metrics measure the same samples")


def identical_samples_are_ideal(case: MetricCase) -> None:
    """Samples that are the references give the declared ideal value."""
    ideal = case.cls.ideal
    if ideal is None:
        raise Skip("declares no value that identical images have; if one exists, declare it: ideal = 0.0")
    value = case.measured(case.samples(same=True))
    if not is_ideal(value, ideal):
        raise Fail(
            f"the references themselves give {value:g}, but `ideal` is {ideal:g}", "correct the value, or `ideal`"
        )


def no_sample_beats_ideal(case: MetricCase) -> None:
    """No other samples give a better value than the declared ideal one.

    Neither brighter nor darker ones.
    """
    ideal, better = case.cls.ideal, case.cls.better
    if ideal is None:
        raise Skip("declares no ideal value, see `identical_samples_are_ideal`")
    for shift, what in {0: "other", 40: "brighter", -40: "darker"}.items():
        value = case.measured(case.samples(shift=shift))
        if beats(value, ideal, better):
            raise Fail(
                f"{what} samples give {value:g}, better than `ideal` = {ideal:g}: `better` is {better!r}",
                "take absolute values or squares of differences, or correct `ideal`",
            )


def too_few_samples(case: MetricCase) -> None:
    """With ``fewest`` samples and references a value exists.

    With fewer, RunError says so.
    """
    fewest = int(case.cls.fewest)
    value = case.measured(case.samples(fewest, fewest))
    if not math.isfinite(value):
        raise Fail(
            f"{fewest} samples give {value:g}, but `fewest` is {fewest}", "declare how many images a value needs"
        )
    if fewest == 1:
        return
    try:
        value = case.measured(case.samples(2 * fewest, fewest - 1))
    except RunError:
        return
    raise Fail(
        f"{fewest - 1} of at least {fewest} references give {value:g}",
        "raise vqbench.errors.RunError in measure(), with a sentence that says how many are needed",
    )


def training_may_be_large(case: MetricCase) -> None:
    """Training images that are read in pieces give the value of a tensor."""
    samples = case.samples()
    assert isinstance(samples.training, Tensor)
    read = replace(samples, training=InPieces(samples.training))
    first, second = case.measured(samples), case.measured(read)
    if not close(first, second):
        raise Fail(
            f"training images give {first:g} as a tensor, {second:g} in pieces", "read them by samples.learned()"
        )


class InPieces:
    """Images as a large data set has them: indexed, but no tensor."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        return self.images[which]

    def augmented(self, which: Tensor, seed: int, /) -> Tensor:
        return self.images[which]


CHECKS = tuple(
    Check(each, applies=of_samples)
    for each in (
        sample_order_does_not_matter,
        sample_value_repeats,
        identical_samples_are_ideal,
        no_sample_beats_ideal,
        too_few_samples,
        training_may_be_large,
    )
)
