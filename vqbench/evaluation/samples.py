"""Measures what a generator makes: samples, kept beside the run, every metric of samples, and images to look at."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqbench import registry
from vqbench.dataset import Dataset, Images
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import RunError
from vqbench.evaluation.reconstructions import Measurement
from vqbench.evaluation.sample_pieces import SamplePieces, claim
from vqbench.functional import neighbours
from vqbench.images import as_measured, rounded, to_unit
from vqbench.loading import batches
from vqbench.metric import Context, SampleMetric, Samples
from vqbench.networks import inception
from vqbench.protocol import MeasureProtocol
from vqbench.store.record import Value
from vqbench.store.sampling import Sampling
from vqbench.store.value_name import ValueName
from vqbench.system.writing import write_atomically
from vqbench.training.latents.generator import Generator
from vqbench.training.seeding import Seeds

TOGETHER = 100  # images that are sampled, or measured, at once
SAVED = 5_000  # references after which their features are first saved, then after twice as many, and so on
SHOWN = 64  # images of a run's own grid
BESIDE = 16  # samples that are shown with their nearest training images
CPU = torch.device("cpu")
Told = Callable[[int, int], None]  # images done, images in all; may raise Interrupted
Tell = Callable[[], None]  # that work goes on; may raise Interrupted


def sample(
    generator: Generator,
    seeds: Seeds,
    places: Sequence[int],
    settings: Mapping[str, float],
    told: Told = lambda *_: None,
) -> Tensor:
    """The samples at ``places`` of the endless row that a run's ``seeds`` begin: (n, C, S, S) uint8, on the CPU.

    Raises RunError for samples that are not finite, which 8 bits would hide.
    """
    parts = []
    for start in range(0, len(places), TOGETHER):
        chosen = [seeds("sample", place) for place in places[start : start + TOGETHER]]
        made = generator.sample(chosen, **settings)
        if not made.isfinite().all():
            raise RunError(
                "the generator's samples are not numbers, but NaN or infinite: its training, or that of its first "
                "stage, has diverged; lower the learning rate"
            )
        parts.append(rounded((made.clamp(-1, 1) + 1) / 2).cpu())
        told(min(start + TOGETHER, len(places)), len(places))
    return torch.cat(parts)


class SampleEvaluator:
    """Measures generators of one data set one after the other. The ranks of ``group`` share the sampling."""

    def __init__(self, dataset: Dataset, device: torch.device, group: RankGroup = ALONE) -> None:
        self.dataset, self.device, self.group = dataset, device, group
        self._references: dict[tuple[str, str, int], Tensor] = {}

    def measure(
        self,
        generator: Generator,
        seeds: Seeds,
        folder: Path,
        wanted: Mapping[str, Sequence[str]],
        told: Told,
        trained_on: int | None,
        anew: bool,
        mirrored: bool = False,
    ) -> Measurement:
        """Every ``wanted`` number: name of protocol and sampling -> metrics. Samples are kept in ``folder``.

        ``trained_on``: the generator learned from the first training images alone; ``mirrored``: also from the mirror
        images of what it learned from. ``anew``: it was trained just now, so that samples which are there may be of an
        earlier one. ``told`` is of sampling; while the first rank measures the samples, it is called now and then as
        for the last of them, so that it may raise Interrupted there too.
        """
        generator.eval()
        if anew:
            self.group.from_first_rank(lambda: claim(folder, generator.state_dict()))
        training = first(self.dataset.pixels("train"), trained_on)
        values = {}
        for names in _by_samples(wanted):
            sampling = _sampling(names[0])
            tell = partial(told, sampling.count, sampling.count)
            pictures = self._samples(generator, seeds, folder, sampling, told)
            for name in names:
                measure = partial(self._values, name, wanted[name], pictures, training, mirrored, tell)
                values[name] = self.group.from_first_rank(measure, patient=True)
            self.group.from_first_rank(
                partial(draw, folder, pictures, training, self.device, mirrored, tell), patient=True
            )
        return Measurement(values, {})

    def _values(
        self,
        name: str,
        metrics: Sequence[str],
        pictures: Tensor,
        training: Tensor | Images,
        mirrored: bool = False,
        tell: Tell = lambda: None,
    ) -> dict[str, Value]:
        """The numbers of one name: what the samples ``images`` are worth under its protocol."""
        measured = ValueName.parse(name).measuring
        context = Context(measured, self.dataset.digest("test"), num_codes=None, bits=None, device=self.device)
        samples = Samples(
            pictures,
            training,
            lambda: torch.cat([*self._features(pictures.split(TOGETHER), measured, tell)]),
            partial(self._reference_features, name, _sampling(name), measured, tell),
            mirrored,
            tell,
        )
        values = {}
        for metric in metrics:
            cls: Any = registry.load("metrics", metric)
            one: SampleMetric = cls(context)
            version = registry.version("metrics", metric)
            values[metric] = Value(one.measure(samples), version, measured.VERSION, len(pictures))
            tell()
        return values

    def _samples(self, generator: Generator, seeds: Seeds, folder: Path, sampling: Sampling, told: Told) -> Tensor:
        """All samples, (count, C, S, S) uint8: those that are kept and, made now, the others. On the first rank alone.

        Round by round, each rank makes one piece, and the first keeps them all before it says so, which may raise
        Interrupted: a stop loses no more than the pieces at work.
        """
        kept = SamplePieces(folder, sampling, TOGETHER)

        def make(numbers: list[int]) -> list[np.ndarray]:
            return [sample(generator, seeds, kept.places(each), sampling.settings).numpy() for each in numbers]

        missing = self.group.from_first_rank(kept.missing)
        left = sum(len(kept.places(number)) for number in missing)
        for start in range(0, len(missing), self.group.size):
            turn = missing[start : start + self.group.size]
            own = turn[self.group.rank : self.group.rank + 1]  # in the last round, not all ranks have one
            made = self.group.gather(self.group.on_all_ranks(partial(make, own)))
            pieces = [piece for each in made for piece in each]
            self.group.from_first_rank(partial(kept.keep, turn, pieces))
            left -= sum(map(len, pieces))
            told(sampling.count - left, sampling.count)
        self.group.from_first_rank(kept.join)
        return kept.read() if self.group.is_first else torch.empty(0, dtype=torch.uint8)

    def _features(self, pieces: Iterable[Tensor], measured: MeasureProtocol, tell: Tell) -> Iterator[Tensor]:
        """Inception's features (B, 2048) of images (B, C, S, S) uint8, seen as ``measured`` sees originals."""
        net = inception.network(self.device)
        for piece in telling(pieces, tell):
            seen = as_measured(to_unit(piece.to(self.device)), measured)
            yield inception.features(net, seen, measured.fid_resize)

    def _reference_features(
        self, name: str, sampling: Sampling, measured: MeasureProtocol, tell: Tell = lambda: None
    ) -> Tensor:
        """Features (M, 2048) of the reference split, kept for other runs as those of rFID's originals are.

        Those computed before a stop are kept as well.
        """
        pictures = self.dataset.pixels(sampling.reference)
        tested = ValueName.parse(name).images if sampling.reference == "test" else None  # no limit of training images
        limits = len(pictures), sampling.references, tested
        count = min(limit for limit in limits if limit is not None)
        key = measured.name, sampling.reference, count
        if key not in self._references:
            path = inception.features_path(measured, self.dataset.digest(sampling.reference), self.device)
            store = inception.FeatureStore(path)

            def decoded(places: list[int]) -> Iterator[Tensor]:
                """The features of those that are not kept, which are decoded while the network is at earlier ones."""
                done, due = 0, SAVED
                for piece in self._features(batches(pictures, torch.tensor(places), TOGETHER), measured, tell):
                    yield from piece
                    done += len(piece)
                    if done >= due:  # ever more rarely, since each time the whole file is written
                        store.save()
                        due *= 2

            try:
                self._references[key] = store.get(range(count), decoded)
            finally:
                store.save()
        return self._references[key]


def _sampling(name: str) -> Sampling:
    """The sampling of a value's name. Raises ValueError for the name of a value of reconstructions."""
    sampling = ValueName.parse(name).sampling
    if sampling is None:
        raise ValueError(f"{name!r} does not name a value of samples")
    return sampling


def _by_samples(names: Iterable[str]) -> list[list[str]]:
    """Names of values, those of the same samples together."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_sampling(name).samples_name, []).append(name)
    return list(found.values())


def telling(pieces: Iterable[Tensor], tell: Tell) -> Iterator[Tensor]:
    """The ``pieces``, and after each was looked at a call of ``tell``."""
    for piece in pieces:
        yield piece
        tell()


class First:
    """The first ``count`` of ``images`` that are read piece by piece, as :class:`vqbench.dataset.Images` are."""

    def __init__(self, pictures: Images, count: int) -> None:
        self.images, self.count = pictures, min(count, len(pictures))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        return self.images[torch.arange(self.count)[which]]

    def augmented(self, which: Tensor, seed: int, /) -> Tensor:
        return self.images.augmented(torch.arange(self.count)[which], seed)


def first(pictures: Tensor | Images, count: int | None) -> Tensor | Images:
    """The first ``count`` images of a split, none of which is read for it; all for None."""
    if count is None:
        return pictures
    return pictures[:count] if isinstance(pictures, Tensor) else First(pictures, count)


# Images to look at --------------------------------------------------------------------------------------------------


def nearest(
    pictures: Tensor,
    training: Tensor | Images,
    device: torch.device = CPU,
    mirrored: bool = False,
    tell: Tell = lambda: None,
) -> Tensor:
    """The position of each image's (N, C, S, S) nearest, by Euclidean distance of pixels, in ``training``: (N,).

    With ``mirrored``, by the smaller distance to a training image and to its mirror image, which is that of one's own
    mirror image to it. All training images are gone through on ``device``, a piece at a time.
    """
    views = torch.stack([pictures, pictures.flip(-1)] if mirrored else [pictures])  # (V, N, C, S, S)

    def flat(levels: Tensor) -> Tensor:
        return levels.to(device).float().flatten(1)

    pieces = telling(batches(training, torch.arange(len(training)), TOGETHER), tell)
    return neighbours.nearest(views.to(device).float().flatten(2), map(flat, pieces))[1].cpu()


def turned(others: Tensor, pictures: Tensor) -> Tensor:
    """``others`` (N, C, S, S) uint8, mirrored where the mirror image is nearer to the image in the same place."""
    views = torch.stack([others, others.flip(-1)])  # (2, N, C, S, S)
    apart = (views.int() - pictures.int()).square().sum((2, 3, 4))  # (2, N), in 64 bits
    return torch.where((apart[1] < apart[0])[:, None, None, None], views[1], views[0])


def draw(
    folder: Path,
    pictures: Tensor,
    training: Tensor | Images,
    device: torch.device = CPU,
    mirrored: bool = False,
    tell: Tell = lambda: None,
) -> None:
    """``samples.png``, the first samples, and ``neighbours.png``, of some the nearest training image below each.

    With ``mirrored``, that one is shown as its mirror image where it is nearer so.
    """
    write_atomically(folder / "samples.png", grid(pictures[:SHOWN]))
    some = pictures[:BESIDE]
    found = training[nearest(some, training, device, mirrored, tell)]
    if mirrored:
        found = turned(found, some)
    pairs = [row for start in range(0, len(some), 8) for each in (some, found) for row in [each[start : start + 8]]]
    write_atomically(folder / "neighbours.png", grid(torch.cat(pairs)))


def grid(pictures: Tensor, columns: int = 8) -> bytes:
    """A PNG of images (N, C, S, S) uint8, row by row, two pixels apart; small ones enlarged without smoothing."""
    count, channels, side, _ = pictures.shape
    rows, wide = -(-count // columns), min(count, columns)
    canvas = torch.full((rows * (side + 2) + 2, wide * (side + 2) + 2, channels), 255, dtype=torch.uint8)
    for place, picture in enumerate(pictures):
        y, x = (2 + (side + 2) * at for at in divmod(place, columns))
        canvas[y : y + side, x : x + side] = picture.permute(1, 2, 0)
    times = max(1, 64 // side)
    image = Image.fromarray(canvas.squeeze(-1).numpy())
    buffer = io.BytesIO()
    image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
