"""Sample from a generator, and measure the samples by all metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench import registry
from vqbench.dataset import Dataset, Images
from vqbench.distributed.collectives import WholeBatch
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import RunError
from vqbench.evaluation import contact_sheets
from vqbench.evaluation.reconstructions import Measurement
from vqbench.evaluation.sample_pieces import SamplePieces, claim
from vqbench.images import as_measured, batches, first_images, rounded, to_unit, with_progress
from vqbench.metric import Context, SampleMetric, Samples
from vqbench.networks import feature_cache, inception
from vqbench.protocol import MeasureProtocol
from vqbench.spec import Seeds
from vqbench.store.record import Value
from vqbench.store.value_name import Sampling, ValueName
from vqbench.training.latents.generator import Generator

TOGETHER = 100  # images that are sampled, or measured, at once
SAVED = 5_000  # references after which their features are first saved, then after twice as many, and so on
OnSamples = Callable[[int, int], None]  # images done, images in all; may raise Interrupted
Progress = Callable[[], None]  # after each piece of work; may raise Interrupted


def sample(
    generator: Generator,
    seeds: Seeds,
    places: Sequence[int],
    settings: Mapping[str, float],
    progress: OnSamples = lambda *_: None,
) -> Tensor:
    """Sample the images at ``places`` of the sequence that ``seeds`` define.

    Returns (n, C, S, S) uint8 on the CPU. Raises RunError for samples that are not finite, which 8 bits would hide.
    """
    parts = []
    for start in range(0, len(places), TOGETHER):
        chosen = [seeds("sample", place) for place in places[start : start + TOGETHER]]
        images = generator.sample(chosen, **settings)
        if not images.isfinite().all():
            raise RunError(
                "the generator's samples are not numbers, but NaN or infinite: its training, or that of its first "
                "stage, has diverged; lower the learning rate"
            )
        parts.append(rounded((images.clamp(-1, 1) + 1) / 2).cpu())
        progress(min(start + TOGETHER, len(places)), len(places))
    return torch.cat(parts)


class SampleEvaluator:
    """Measures generators of one data set, one after the other.

    The ranks of ``group`` share the sampling.
    """

    def __init__(self, dataset: Dataset, device: torch.device, group: RankGroup = ALONE) -> None:
        self.dataset, self.device, self.group = dataset, device, group
        self._references: dict[tuple[str, str, int], Tensor] = {}

    def measure(
        self,
        generator: Generator,
        seeds: Seeds,
        folder: Path,
        wanted: Mapping[str, Sequence[str]],
        progress: OnSamples,
        trained_on: int | None,
        anew: bool,
        mirrored: bool = False,
    ) -> Measurement:
        """Measure samples of ``generator``, in evaluation mode.

        Args:
            generator: On the evaluator's device.
            seeds: Of the run.
            folder: Of the run; samples and grids of them are written to it.
            wanted: Name of protocol and sampling -> names of metrics.
            progress: Called with (images done, images in all) of the sampling. While rank 0 measures, it is called
                with the last such pair, so that it may raise Interrupted there too.
            trained_on: The generator was trained on this many first training images alone; None: on all.
            anew: It was trained just now, so that existing samples may be of other weights.
            mirrored: It was also trained on the mirror images.
        """
        generator.eval()
        if anew:
            self.group.from_first_rank(lambda: claim(folder, generator.state_dict()))
        training = first_images(self.dataset.pixels("train"), trained_on)
        values = {}
        for names in _by_samples(wanted):
            sampling = _sampling(names[0])
            step = partial(progress, sampling.count, sampling.count)
            images = self._samples(generator, seeds, folder, sampling, progress)
            for name in names:
                measure = partial(self._values, name, wanted[name], generator, images, training, mirrored, step)
                values[name] = self.group.from_first_rank(measure, patient=True)
            draw = partial(contact_sheets.draw, folder, images, training, self.device, mirrored, step)
            self.group.from_first_rank(draw, patient=True)
        return Measurement(values, {})

    def _values(
        self,
        name: str,
        metrics: Sequence[str],
        generator: Generator,
        images: Tensor,
        training: Tensor | Images,
        mirrored: bool = False,
        progress: Progress = lambda: None,
    ) -> dict[str, Value]:
        """Measure ``generator`` and its samples ``images``.

        Under the protocol and sampling of ``name``.
        """
        measured = ValueName.parse(name).measuring
        context = Context(measured, self.dataset.digest("test"), num_codes=None, bits=None, device=self.device)
        samples = Samples(
            images,
            training,
            lambda: torch.cat([*self._features(images.split(TOGETHER), measured, progress)]),
            partial(self._reference_features, name, _sampling(name), measured, progress),
            mirrored,
            progress,
            partial(self._test_bits, generator, self._tested(name), progress),
        )
        values = {}
        for metric in metrics:
            cls: Any = registry.load("metrics", metric)
            one: SampleMetric = cls(context)
            version = registry.version("metrics", metric)
            count = self._tested(name) if one.of_likelihood else len(images)
            values[metric] = Value(one.measure(samples), version, measured.VERSION, count)
            progress()
        return values

    def _tested(self, name: str) -> int:
        """Return how many test images values of ``name`` are measured on."""
        count = len(self.dataset.pixels("test"))
        return min(ValueName.parse(name).images or count, count)

    def _test_bits(self, generator: Generator, count: int, progress: Progress) -> Tensor | None:
        """Return the bits (count,) of the codes of the first ``count`` test images.

        None where the generator has no likelihood.
        """
        parts = []
        pieces = batches(self.dataset.pixels("test"), torch.arange(count), TOGETHER)
        with WholeBatch():  # the other ranks do not take part
            for piece in with_progress(pieces, progress):
                bits = generator.code_bits(to_unit(piece.to(self.device)))
                if bits is None:
                    return None
                parts.append(bits.double().cpu())
        return torch.cat(parts)

    def _samples(
        self, generator: Generator, seeds: Seeds, folder: Path, sampling: Sampling, progress: OnSamples
    ) -> Tensor:
        """Return all samples, (count, C, S, S) uint8, on rank 0.

        Those that are not in ``folder`` are sampled now.

        In each round every rank samples one piece, and rank 0 writes them all before it calls ``progress``, which may
        raise Interrupted: a stop loses no more than the pieces of one round.
        """
        kept = SamplePieces(folder, sampling, TOGETHER)

        def sampled(numbers: list[int]) -> list[np.ndarray]:
            return [sample(generator, seeds, kept.places(each), sampling.settings).numpy() for each in numbers]

        missing = self.group.from_first_rank(kept.missing)
        left = sum(len(kept.places(number)) for number in missing)
        for start in range(0, len(missing), self.group.size):
            turn = missing[start : start + self.group.size]
            own = turn[self.group.rank : self.group.rank + 1]  # in the last round, not all ranks have one
            gathered = self.group.gather(self.group.on_all_ranks(partial(sampled, own)))
            pieces = [piece for each in gathered for piece in each]
            self.group.from_first_rank(partial(kept.keep, turn, pieces))
            left -= sum(map(len, pieces))
            progress(sampling.count - left, sampling.count)
        self.group.from_first_rank(kept.join)
        return kept.read() if self.group.is_first else torch.empty(0, dtype=torch.uint8)

    def _features(self, pieces: Iterable[Tensor], measured: MeasureProtocol, progress: Progress) -> Iterator[Tensor]:
        """Yield Inception's features (B, 2048) of images (B, C, S, S) uint8.

        Images are prepared as ``measured`` does originals.
        """
        net = inception.network(self.device)
        for piece in with_progress(pieces, progress):
            images = as_measured(to_unit(piece.to(self.device)), measured)
            yield inception.features(net, images, measured.fid_resize)

    def _reference_features(
        self, name: str, sampling: Sampling, measured: MeasureProtocol, progress: Progress = lambda: None
    ) -> Tensor:
        """Return features (M, 2048) of the reference split.

        They are cached for other runs like those of rFID's originals, also those computed before a stop.
        """
        images = self.dataset.pixels(sampling.reference)
        tested = ValueName.parse(name).images if sampling.reference == "test" else None  # no limit of training images
        limits = len(images), sampling.references, tested
        count = min(limit for limit in limits if limit is not None)
        key = measured.name, sampling.reference, count
        if key not in self._references:
            path = feature_cache.features_path(measured, self.dataset.digest(sampling.reference), self.device)
            cache = feature_cache.FeatureCache(path)

            def compute(places: list[int]) -> Iterator[Tensor]:
                """Yield the missing features; images are decoded ahead."""
                done, due = 0, SAVED
                for piece in self._features(batches(images, torch.tensor(places), TOGETHER), measured, progress):
                    yield from piece
                    done += len(piece)
                    if done >= due:  # ever more rarely, since each time the whole file is written
                        cache.save()
                        due *= 2

            try:
                self._references[key] = cache.get(range(count), compute)
            finally:
                cache.save()
        return self._references[key]


def _sampling(name: str) -> Sampling:
    """Return the sampling of a value's name. Raises ValueError without one."""
    sampling = ValueName.parse(name).sampling
    if sampling is None:
        raise ValueError(f"{name!r} does not name a value of samples")
    return sampling


def _by_samples(names: Iterable[str]) -> list[list[str]]:
    """Group names of values by the samples that they are of."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_sampling(name).samples_name, []).append(name)
    return list(groups.values())
