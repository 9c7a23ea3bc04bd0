"""One pass over the test split, from which every metric is fed under every measuring protocol asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqbench import protocol, registry
from vqbench.dataset import Dataset
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import RunError, UsageError
from vqbench.images import as_measured, distinct, rounded, to_unit
from vqbench.loading import batches
from vqbench.metric import Batch, Context, Metric
from vqbench.model import Autoencoder
from vqbench.protocol import MeasureProtocol
from vqbench.store.record import Value
from vqbench.store.value_name import ValueName

BATCH = 100  # images a pass; also what the metrics see at once


@dataclass
class Measurement:
    """What one pass gave."""

    values: dict[str, dict[str, Value]]  # protocol -> metric -> value
    images: dict[str, np.ndarray]  # "protocol/metric" -> (N,), where the metric has a value per image


@dataclass
class _Seen:
    """What one rank saw."""

    counts: dict[str, int]  # protocol -> images
    images: dict[str, list[np.ndarray]]  # "protocol/metric" -> values of each pass, (n,)


class Evaluator:
    """Measures runs on one test split, one after the other; what depends on the originals alone is computed once.

    ``keep`` False: only one run is measured, so that metrics need not keep in memory what the next would use. The ranks
    of ``group`` share the images, without padding: each takes some whole passes, and every image is seen once.
    """

    def __init__(self, dataset: Dataset, device: torch.device, keep: bool = True, group: RankGroup = ALONE) -> None:
        self.dataset, self.device, self.keep, self.group = dataset, device, keep, group
        self.pixels = dataset.pixels("test")  # (N, C, S, S) uint8
        self.digest = dataset.digest("test")
        self._metrics: dict[tuple[MeasureProtocol, str], Metric] = {}
        self._originals: dict[tuple[MeasureProtocol, int], Tensor] = {}

    @torch.no_grad()
    def measure(
        self,
        model: Autoencoder,
        wanted: Mapping[str, Sequence[str]],
        progress: Callable[[int, int], None] = lambda done, total: None,
        variants: Sequence[MeasureProtocol] = (),
        see: Callable[[Tensor], None] = lambda codes: None,
    ) -> Measurement:
        """Measure ``model``, in evaluation mode, by the ``wanted`` metrics: protocol -> names.

        Every image of the split, or of its beginning where a protocol's name asks for that, is counted once.
        ``progress`` is told (images done, images in all) of this rank. ``variants`` are protocols beyond the named
        ones that ``wanted`` may ask for by their names. ``see`` is shown the codes (B, H, W, depth) of all images of
        this rank. With several ranks, the first alone gets the values. Raises
        UsageError for an unknown name, or a variant with a known one.
        """
        measured = {name: _protocol(name, variants) for name in wanted}
        model.eval()
        quantized = model.quantizer.depth > 0
        contexts = {
            name: Context(
                protocol=measured[name],
                dataset=self.digest,
                num_codes=model.quantizer.num_codes if quantized else None,
                bits=model.quantizer.bits if quantized else None,
                device=self.device,
                depth=model.quantizer.depth,
                keep=self.keep,
            )
            for name in wanted
        }
        metrics = self.group.on_all_ranks(
            lambda: {name: {each: self._metric(each, contexts[name]) for each in wanted[name]} for name in wanted}
        )
        seen = self.group.on_all_ranks(lambda: self._pass(model, metrics, measured, progress, see))
        for collectors in metrics.values():
            for collector in collectors.values():
                self.group.all_reduce(collector.state.values())
        self._check_counts(self.group.gather(seen.counts))
        images = self.group.gather(seen.images)
        if not self.group.is_first:
            return Measurement({}, {})
        values = {
            name: {
                metric: Value(
                    collector.compute(),
                    registry.version("metrics", metric),
                    measured[name].VERSION,
                    self._count(name),
                )
                for metric, collector in collectors.items()
            }
            for name, collectors in metrics.items()
        }
        named = dict.fromkeys(name for each in images for name in each)
        joined = {name: np.concatenate([part for each in images for part in each.get(name, ())]) for name in named}
        return Measurement(values, joined)

    def _pass(
        self,
        model: Autoencoder,
        metrics: dict[str, dict[str, Metric]],
        measured: dict[str, MeasureProtocol],
        progress: Callable[[int, int], None],
        see: Callable[[Tensor], None],
    ) -> _Seen:
        """Show this rank's images to all ``metrics``."""
        seen = _Seen(dict.fromkeys(metrics, 0), {})
        total = max(self._count(name) for name in metrics)
        starts = self.group.own_items(range(0, total, BATCH))
        own = torch.arange(starts[0], min(starts[-1] + BATCH, total)) if starts else torch.arange(0)
        for start, pixels in zip(starts, batches(self.pixels, own, BATCH), strict=True):  # decoded ahead
            x = to_unit(pixels.to(self.device))
            reconstructions, out = model(x)
            see(out.codes)
            for name, collectors in metrics.items():
                here = slice(max(0, min(len(x), self._count(name) - start)))  # none, where the protocol wants fewer
                if here.stop == 0:
                    continue
                batch = Batch(
                    originals=self._measured_originals(x, start, measured[name])[here],
                    reconstructions=as_measured(reconstructions[here].float(), measured[name]),
                    codes=out.codes[here] if model.quantizer.depth > 0 else None,
                    index=torch.arange(start, start + here.stop),
                )
                seen.counts[name] += here.stop
                for metric, collector in collectors.items():
                    each = collector.update(batch)
                    if each is not None:
                        seen.images.setdefault(f"{name}/{metric}", []).append(each.numpy())
            progress(min(start + BATCH, total) - starts[0], min(starts[-1] + BATCH, total) - starts[0])
        return seen

    def _check_counts(self, counts: Sequence[Mapping[str, int]]) -> None:
        """Every image that is to be counted was seen, once, by one of the ranks."""
        for name in counts[0]:
            if (seen := sum(each[name] for each in counts)) != self._count(name):
                raise RunError(f"{seen} images were measured under {name} instead of {self._count(name)}")

    def _count(self, name: str) -> int:
        """How many images are measured under the protocol ``name``."""
        return min(ValueName.parse(name).images or len(self.pixels), len(self.pixels))

    def _metric(self, name: str, context: Context) -> Metric:
        """The collector of one metric under one protocol, made once and started anew for every run."""
        key = context.protocol, name
        if key not in self._metrics:
            self._metrics[key] = registry.load("metrics", name)(context)
        self._metrics[key].start(context)
        return self._metrics[key]

    def _measured_originals(self, x: Tensor, start: int, measured: MeasureProtocol) -> Tensor:
        """The originals as ``measured`` sees them; those in 8 bits are kept for the next run in this process.

        Not for other processes: JPEG copies of 10,000 images take a second.
        """
        key = measured, start
        if key in self._originals:
            return (self._originals[key].float() / 255).expand(-1, 3, -1, -1)
        seen = as_measured(x, measured)
        if self.keep and measured.pixels != "float" and isinstance(self.pixels, Tensor):  # else more than memory holds
            self._originals[key] = rounded(distinct(seen))
        return seen


def _protocol(name: str, variants: Sequence[MeasureProtocol]) -> MeasureProtocol:
    """What values of this name are measured under. No variant may go by the name of a protocol that is stored."""
    known = {variant.name: variant for variant in variants}
    taken = [variant for variant in variants if variant.name in protocol.MEASURE or known[variant.name] != variant]
    if taken:
        raise UsageError(f"a variant of a measuring protocol needs a name of its own; {taken[0].name!r} is taken")
    return known.get(measured := ValueName.parse(name).protocol) or protocol.measuring(measured)
