"""Metrics with one planted fault each, by the check that must detect it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vqbench.metric import Batch, ImageMetric, Metric, SampleMetric, Samples


class Honest(ImageMetric):
    """Mean squared error."""

    label, better, digits, reference = "MSE", "min", 4, "mean of squares"
    ideal = 0.0

    def values(self, batch: Batch) -> Tensor:
        return (batch.originals.double() - batch.reconstructions.double()).square().mean((1, 2, 3))


class Unlabelled(Honest):
    """No head for its column."""

    label = ""


class ImpossibleLimits(Honest):
    """Ranked with fewer images than a value needs."""

    few, fewest = 2, 5


class MeanOfBatches(Honest):
    """Weighs batches alike, whatever their size."""

    def update(self, batch: Batch) -> Tensor:
        values = self.values(batch)
        self.state["sum"] += values.mean()
        self.state["count"] += 1
        return values


class FirstCountsMore(Honest):
    """The first image of a batch weighs more."""

    def values(self, batch: Batch) -> Tensor:
        return super().values(batch) * (1 + 0.5 * (torch.arange(len(batch.index)) == 0))


class ByPlace(Honest):
    """Weighs images by how many came before."""

    def reset(self) -> None:
        super().reset()
        self.seen = 0

    def values(self, batch: Batch) -> Tensor:
        weights = 1 / (1 + self.seen + torch.arange(len(batch.index)))
        self.seen += len(batch.index)
        return super().values(batch) * weights


class KeepsMeans(Honest):
    """Keeps a mean in state, where only sums add up."""

    def reset(self) -> None:
        self.state = {"mean": torch.zeros((), dtype=torch.float64)}
        self.values_seen: list[Tensor] = []

    def update(self, batch: Batch) -> Tensor:
        self.values_seen.append(self.values(batch))
        self.state["mean"] = torch.cat(self.values_seen).mean()
        return self.values_seen[-1]

    def compute(self) -> float:
        return float(self.state["mean"])


class GrowingState(Honest):
    """Its state has names only once images came."""

    def reset(self) -> None:
        self.state = {}

    def update(self, batch: Batch) -> Tensor:
        values = self.values(batch)
        self.state["sum"] = self.state.get("sum", torch.zeros((), dtype=torch.float64)) + values.sum()
        self.state["count"] = self.state.get("count", torch.zeros((), dtype=torch.float64)) + len(values)
        return values


class Remembers(Honest):
    """Never forgets the run before."""

    def __init__(self, context: Any) -> None:
        self.offset = 0.0
        super().__init__(context)

    def compute(self) -> float:
        self.offset += super().compute()
        return self.offset


class Noisy(Honest):
    """Adds noise of torch's default generator."""

    def values(self, batch: Batch) -> Tensor:
        return super().values(batch) + 1e-3 * torch.rand(len(batch.index))


class Clamps(Honest):
    """Changes the batch that other metrics measure next."""

    def values(self, batch: Batch) -> Tensor:
        values = super().values(batch)
        batch.reconstructions.mul_(0.5)
        return values


class OutsideState(Honest):
    """Keeps its sum beside the state, which alone is summed over the ranks."""

    def reset(self) -> None:
        super().reset()
        self.total = 0.0

    def update(self, batch: Batch) -> Tensor:
        values = self.values(batch)
        self.total += float(values.sum())
        self.state["count"] += len(values)
        return values

    def compute(self) -> float:
        return self.total / float(self.state["count"])


class RootOfMean(Honest):
    """A root of the mean, whose values per image are squares."""

    def compute(self) -> float:
        return math.sqrt(super().compute())


class Float32Values(Honest):
    """Values per image in single precision."""

    def update(self, batch: Batch) -> Tensor:
        return super().update(batch).float()


class NotIdeal(Honest):
    """Declares what it does not give."""

    ideal = 1.0


class WrongWay(Honest):
    """An error that is said to be better if larger."""

    better = "max"


class SignedError(Honest):
    """A mean of differences, which is 0 where brighter and darker pixels cancel."""

    def values(self, batch: Batch) -> Tensor:
        return (batch.originals.double() - batch.reconstructions.double()).mean((1, 2, 3))


class SignedOther(Honest):
    """The same with the other sign."""

    def values(self, batch: Batch) -> Tensor:
        return (batch.reconstructions.double() - batch.originals.double()).mean((1, 2, 3))


class LostContrast(Honest):
    """Counts contrast that is lost, and subtracts contrast that is added."""

    def values(self, batch: Batch) -> Tensor:
        return batch.originals.double().std((1, 2, 3)) - batch.reconstructions.double().std((1, 2, 3))


class Divides(Honest):
    """Divides by the variance of the originals, which constant images lack."""

    def values(self, batch: Batch) -> Tensor:
        return super().values(batch) / batch.originals.double().var((1, 2, 3))


class ColourOnly(Honest):
    """Takes the third channel, which grey images lack."""

    def values(self, batch: Batch) -> Tensor:
        return (batch.originals[:, 2] - batch.reconstructions[:, 2]).double().square().mean((1, 2))


class NoLimit(Honest):
    """Declares a limit that it does not keep."""

    fewest = 3


class Unquantized(Metric):
    """Fails where a run has no codes."""

    label, better, digits, reference, needs_codes = "codes", "max", 0, "largest code", True

    def reset(self) -> None:
        self.state = {"largest": torch.zeros((), dtype=torch.float64)}

    def update(self, batch: Batch) -> None:
        if batch.codes is not None:
            self.state["largest"] += batch.codes.sum()

    def compute(self) -> float:
        return float(self.state["largest"])


class HonestSamples(SampleMetric):
    """Distance of the means of the features."""

    label, better, digits, reference, ideal = "mean", "min", 3, "distance of means", 0.0

    def measure(self, samples: Samples) -> float:
        return float((samples.features.mean(0) - samples.references.mean(0)).square().mean())


class FirstSample(HonestSamples):
    """Takes the first sample for all."""

    def measure(self, samples: Samples) -> float:
        return float((samples.features[0] - samples.references.mean(0)).square().mean())


class NoisySamples(HonestSamples):
    """Draws a random subset without a seed."""

    def measure(self, samples: Samples) -> float:
        return float(samples.features[torch.randperm(len(samples.features))[:4]].mean())


class BiasedSamples(HonestSamples):
    """Declares 0 for the references themselves, but gives 1."""

    def measure(self, samples: Samples) -> float:
        return 1 + super().measure(samples)


class SignedSamples(HonestSamples):
    """A difference of means with its sign."""

    def measure(self, samples: Samples) -> float:
        return float(samples.features.mean() - samples.references.mean())


class AnyNumberOfSamples(HonestSamples):
    """Declares a limit that it does not keep."""

    fewest = 4


class TensorOfTraining(HonestSamples):
    """Takes training images for a tensor."""

    def measure(self, samples: Samples) -> float:
        training: Any = samples.training
        return super().measure(samples) + float(training.float().mean())


FAULTS: dict[str, tuple[type[Metric], ...]] = {
    "declarations": (Unlabelled,),
    "limits": (ImpossibleLimits,),
    "batches_do_not_matter": (MeanOfBatches, FirstCountsMore),
    "order_does_not_matter": (ByPlace, FirstCountsMore),
    "state_adds_up": (KeepsMeans, GrowingState),
    "every_run_starts_anew": (Remembers,),
    "value_repeats": (Noisy, Clamps),
    "two_ranks_are_one": (OutsideState, KeepsMeans),
    "images_agree_with_total": (RootOfMean, Float32Values),
    "identical_images_are_ideal": (NotIdeal,),
    "no_image_beats_ideal": (SignedError, SignedOther, LostContrast),
    "worse_images_are_worse": (WrongWay, SignedError, SignedOther),
    "plain_images": (Divides,),
    "sizes_and_channels": (ColourOnly,),
    "too_few_images": (NoLimit,),
    "runs_without_codes": (Unquantized,),
    "sample_order_does_not_matter": (FirstSample,),
    "sample_value_repeats": (NoisySamples,),
    "identical_samples_are_ideal": (BiasedSamples,),
    "no_sample_beats_ideal": (SignedSamples,),
    "too_few_samples": (AnyNumberOfSamples,),
    "training_may_be_large": (TensorOfTraining,),
}
HONEST = (Honest, HonestSamples)
