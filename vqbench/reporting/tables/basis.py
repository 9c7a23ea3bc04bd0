"""Count the images behind the values of a table: too few are not ranked."""

from __future__ import annotations

from collections.abc import Sequence

from vqbench.dataset import Split
from vqbench.planning.plan import MetricInfo, Plan
from vqbench.store.value_name import ValueName

FEW = 100  # with fewer images, no metric is ranked


class Basis:
    """The images of one table, under one measuring protocol."""

    def __init__(self, plan: Plan, protocol_name: str) -> None:
        self.plan, self.tested = plan, ValueName.parse(protocol_name).images

    def unranked(self, info: MetricInfo) -> str:
        """Return why too few images leave a metric unranked; empty if it has enough."""
        (count, what), need = self.counted(info.of_samples), max(info.few, FEW)
        return f"{count:,} {what}, and rows are compared from {need:,} on" if count < need else ""

    def counted(self, of_samples: bool) -> tuple[int, str]:
        """Return how many images a value is measured on, and what these are.

        On the smallest data set: test images or, for a metric of samples, samples or references, whichever are fewer.

        They are test images or, for a metric of samples, the samples or their references, whichever are fewer.
        """
        sampling = self.plan.sampling
        if not of_samples or sampling is None:
            return self._fewest("test", self.tested), "test images"
        limits = sampling.references, self.tested if sampling.reference == "test" else None
        references = self._fewest(sampling.reference, *limits)
        return (sampling.count, "samples") if sampling.count <= references else (references, "references")

    def _fewest(self, split: Split, *limits: int | None) -> int:
        """Return how many images of ``split`` the smallest data set uses.

        At most the ``limits``.
        """
        sizes: list[int] = [getattr(info, split) for info in self.plan.datasets.values()]
        return min([*sizes, *(limit for limit in limits if limit is not None)])

    def line(self) -> str:
        """Return the number of images in words, for the line that also counts seeds."""
        counts = {info.title: min(info.test, self.tested or info.test) for info in self.plan.datasets.values()}
        if len(set(counts.values())) == 1:
            each = " of each data set" if len(counts) > 1 else ""
            text = f"{next(iter(counts.values())):,} test images{each}"
        else:
            text = f"{', '.join(f'{count:,} ({title})' for title, count in counts.items())} test images"
        if self.plan.sampling is not None:
            count, what = self.counted(True)
            against = "" if what == "samples" else f" against {count:,} references"
            text += f"; {self.plan.sampling.count:,} samples{against}"
        return text

    def too_few(self, metrics: Sequence[str]) -> list[str]:
        """Name metrics that too few images, or samples, keep unranked: up to two notes."""
        infos = [
            self.plan.metrics[name]
            for name in metrics
            if name in self.plan.metrics and not self.plan.metrics[name].rate
        ]
        notes = []
        for of_samples in (False, True):
            by_need: dict[int, list[str]] = {}
            for info in infos:
                if info.of_samples == of_samples and self.unranked(info):
                    by_need.setdefault(max(info.few, FEW), []).append(info.label)
            count, what = self.counted(of_samples)
            sentences = []
            for need, labels in by_need.items():
                subject, pronoun = ("is", "it needs") if len(labels) == 1 else ("are", "they need")
                names = ", ".join(labels)
                sentences.append(f"{names} {subject} not ranked: {pronoun} at least {need:,} {what}, here {count:,}.")
            notes += [" ".join(sentences)] if sentences else []
        return notes
