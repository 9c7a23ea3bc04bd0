"""How many images the values of a table rest on, and what is ranked on so many."""

from __future__ import annotations

from collections.abc import Sequence

from vqbench.dataset import Split
from vqbench.planning.plan import MetricInfo, Plan
from vqbench.reporting.tables.budget import BITS
from vqbench.store.value_name import ValueName

FEW = 100  # images below which nothing is ranked, whatever the metric


class Basis:
    """The images of one table, under one measuring protocol."""

    def __init__(self, plan: Plan, protocol_name: str) -> None:
        self.plan, self.tested = plan, ValueName.parse(protocol_name).images

    def ranks(self, info: MetricInfo) -> bool:
        """Whether the images are enough to rank values of a metric."""
        return self.counted(info.of_samples)[0] >= max(info.few, FEW)

    def counted(self, of_samples: bool) -> tuple[int, str]:
        """How many images a value is measured on, of the smallest data set, and what they are.

        They are test images or, of a number of samples, the fewer of these and of what they are held against.
        """
        sampling = self.plan.sampling
        if not of_samples or sampling is None:
            return self._fewest("test", self.tested), "test images"
        limits = sampling.references, self.tested if sampling.reference == "test" else None
        references = self._fewest(sampling.reference, *limits)
        return (sampling.count, "samples") if sampling.count <= references else (references, "references")

    def _fewest(self, split: Split, *limits: int | None) -> int:
        """How many images of ``split`` are used, no more than the ``limits``, where the data set has fewest."""
        sizes: list[int] = [getattr(info, split) for info in self.plan.datasets.values()]
        return min([*sizes, *(limit for limit in limits if limit is not None)])

    def said(self) -> str:
        """How many images there are, for a line that also says how many seeds."""
        counts = {info.title: min(info.test, self.tested or info.test) for info in self.plan.datasets.values()}
        if len(set(counts.values())) == 1:
            each = " of each data set" if len(counts) > 1 else ""
            said = f"{next(iter(counts.values())):,} test images{each}"
        else:
            said = f"{', '.join(f'{count:,} ({title})' for title, count in counts.items())} test images"
        if self.plan.sampling is not None:
            count, what = self.counted(True)
            against = "" if what == "samples" else f" against {count:,} references"
            said += f"; {self.plan.sampling.count:,} samples{against}"
        return said

    def too_few(self, metrics: Sequence[str]) -> list[str]:
        """Which of ``metrics`` are not ranked, since the images that they are measured on are too few."""
        infos = [self.plan.metrics[name] for name in metrics if name in self.plan.metrics and name != BITS]
        said = []
        for of_samples in (False, True):
            by_need: dict[int, list[str]] = {}
            for info in infos:
                if info.of_samples == of_samples and not self.ranks(info):
                    by_need.setdefault(max(info.few, FEW), []).append(info.label)
            count, what = self.counted(of_samples)
            needs = [f"{', '.join(labels)} ({need:,} needed)" for need, labels in by_need.items()]
            said += [f"{count:,} {what} are too few to rank {'; '.join(needs)}."] if needs else []
        return said
