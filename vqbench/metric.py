"""The contract of a metric of reconstructions or of samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vqbench.backbone import Autoencoder
    from vqbench.dataset import Images
    from vqbench.protocol import MeasureProtocol
    from vqbench.spec import Seeds

Result = TypeVar("Result")

TOGETHER = 100  # points, or images, that are compared at once with all others


@dataclass(frozen=True)
class Latents:
    """What a model's encoder and quantizer made of a batch of images.

    Attributes:
        features: z, (B, dim, h, w), the encoder's output.
        quantized: z_q, (B, dim, h, w), from which the reconstructions were decoded; ``features`` themselves where
            nothing is quantized.
    """

    features: Tensor
    quantized: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> Latents:
        """Return the latents of some images of the batch."""
        return Latents(self.features[chosen], self.quantized[chosen])


@dataclass
class Batch:
    """Test images and reconstructions as a measuring protocol prepares them.

    Attributes:
        originals: (B, C, H, W) float32 in [0, 1]; under a protocol with 8-bit pixels, multiples of 1/255.
        reconstructions: (B, C, H, W), prepared in the same way.
        codes: (B, h, w, depth) int64 in [0, K); None where nothing is quantized.
        index: (B,) int64 on the CPU: positions in the test split, by which a metric may cache what it computes.
        latents: From which the reconstructions were decoded; None where images come without their model.
    """

    originals: Tensor
    reconstructions: Tensor
    codes: Tensor | None
    index: Tensor
    latents: Latents | None = None
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def shared(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """Return ``compute()``, once for all metrics that use ``key``."""
        if key not in self._shared:
            self._shared[key] = compute()
        result: Result = self._shared[key]
        return result


def _unseeded(purpose: str, *counters: int) -> int:
    """Return 0: the seed of whatever is measured without a run."""
    return 0


@dataclass(frozen=True)
class Context:
    """Facts about a run and its test images, the same for all batches.

    Attributes:
        protocol: The measuring protocol.
        dataset: The digest of the test split, as a cache key for what depends on the originals alone. Empty for images
            of no data set, of which nothing may be cached beyond this run.
        num_codes: K, the size of the codebook; None where nothing is quantized.
        bits: Bits per position of the code map; None where nothing is quantized.
        device: Where the images of every batch are.
        depth: Codes per position.
        codes_per_image: Maps height and width of the code map to the codes of each depth that describe an image, see
            :meth:`vqbench.quantizer.Quantizer.codes_per_image`; one per position where None.
        keep: False where no other run on the same images follows, so that caching in memory gains nothing.
        model: The model, in evaluation mode, on ``device``; only for a metric with ``needs_model``, and None where
            images come without their model.
        image_shape: (C, H, W) of the images that the model encodes; None without a model.
        latent_shape: (dim, h, w) of its feature maps of these images; None without a model.
        seeds: (purpose, counters ...) -> seed, for random numbers of a measurement: those of the run, so that all rows
            with one seed draw alike.
    """

    protocol: MeasureProtocol
    dataset: str
    num_codes: int | None
    bits: float | None
    device: torch.device
    depth: int = 1
    keep: bool = True
    model: Autoencoder | None = None
    image_shape: tuple[int, int, int] | None = None
    latent_shape: tuple[int, int, int] | None = None
    seeds: Seeds = _unseeded
    codes_per_image: Callable[[int, int], Sequence[int]] | None = None


class Metric:
    """One number about one run, under one measuring protocol.

    ``state`` maps names to tensors on the CPU that add up over batches, and over ranks by one sum. :meth:`reset`
    therefore gives them the same names and shapes on every rank, including one without images. :meth:`update` adds a
    batch; :meth:`compute` turns the sum over all batches and ranks into the number, on rank 0 alone.

    One object may serve several runs on the same images, one after the other, with :meth:`start` before each:
    what depends on the originals alone is computed once.

    Subclass :class:`ImageMetric` for a mean of values per image, :class:`SampleMetric` for generated images.
    """

    label: ClassVar[str]  # in the head of a table
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["min", "max"]]
    ideal: ClassVar[float | None] = None  # best value: of perfect reconstructions (samples: of the references)
    digits: ClassVar[int]  # decimals in a table
    VERSION: ClassVar[int] = 1  # raised by hand when a change of the code changes the value
    reference: ClassVar[str] = ""  # paper or library that defines it
    few: ClassVar[int] = 0  # with fewer images (of samples: or references) values are not ranked, and a table says so
    by_codebook: ClassVar[bool] = False  # values are comparable only between codebooks of the same size
    fewest: ClassVar[int] = 1  # images (of samples: and references) without which no value exists
    needs_codes: ClassVar[bool] = False  # undefined for a run without a codebook
    needs_model: ClassVar[bool] = False  # uses `context.model`, or `latents`: images alone have no such value
    exempt: ClassVar[Mapping[str, str]] = {}  # checks of `vqbench check` that it need not pass -> the reason
    in_paper: ClassVar[bool] = False  # printed in the tables of the paper that vqbench reproduces
    rate: ClassVar[bool] = False  # bits that the codes cost: part of the budget, so a table does not rank it
    of_samples: ClassVar[bool] = False  # measures images that a second stage generates, see SampleMetric
    of_sets: ClassVar[bool] = False  # compares sets: batches may have one side alone, see FeatureMetric
    knobs: ClassVar[tuple[str, ...]] = ("pixels", "jpeg", "colour")  # settings of a protocol that can change the value

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        """Return the assets that the metric needs under ``protocol``.

        Names in ``vqbench.assets.CATALOGUE``.
        """
        return ()

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        """Return the smallest side in pixels that can be measured."""
        return 1

    def __init__(self, context: Context) -> None:
        self.context = context
        self.state: dict[str, Tensor] = {}
        self.reset()

    def start(self, context: Context) -> None:
        """Begin the next run on the same images.

        Args:
            context: Facts about that run; its ``protocol``, ``dataset`` and ``device`` are those of the first one.
        """
        self.context = context
        self.reset()

    def reset(self) -> None:
        """Set ``state`` to its zeros."""
        raise NotImplementedError

    def update(self, batch: Batch) -> Tensor | None:
        """Add the images of ``batch`` to ``state``.

        Returns:
            The values per image, (B,) float64 on the CPU, or None where a single image has no value.

        Raises:
            RunError: The images cannot be measured, for example because they are too small.
        """
        raise NotImplementedError

    def compute(self) -> float | None:
        """Return the value over all images since :meth:`reset`, in ``unit``.

        None where the metric is undefined for such a run, for example usage without a codebook.

        Raises:
            RunError: Too few images were added.
        """
        raise NotImplementedError


@dataclass
class Samples:
    """Generated images, and what they are compared with under a protocol.

    Attributes:
        images: (N, C, S, S) uint8: the samples as they were generated.
        training: (T, C, S, S) uint8: the images that the generator was trained on.
        features_of_samples: Computes :attr:`features`; called once at most.
        features_of_references: Computes :attr:`references`.
        mirrored: Whether the generator was also trained on the mirror image of each of them.
        progress: Called after each piece of work; may raise Interrupted.
        bits_of_test_images: Computes :attr:`test_bits`; called once at most.
    """

    images: Tensor
    training: Tensor | Images
    features_of_samples: Callable[[], Tensor]
    features_of_references: Callable[[], Tensor]
    mirrored: bool = False
    progress: Callable[[], None] = lambda: None
    bits_of_test_images: Callable[[], Tensor | None] = lambda: None
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def features(self) -> Tensor:
        """Inception's features (pool3) of the samples, (N, 2048), on the CPU."""
        return self.features_of_samples()

    @cached_property
    def references(self) -> Tensor:
        """Inception's features of the references, (M, 2048), on the CPU."""
        return self.features_of_references()

    @cached_property
    def test_bits(self) -> Tensor | None:
        """Bits of the codes of each test image under the generator, (M,) float64.

        They are on the CPU. None for a generator without a likelihood, such as a diffusion model.
        """
        return self.bits_of_test_images()

    def learned(self, order: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the training images in pieces, read from their files ahead.

        Args:
            order: (N,) int64, positions in ``training``; all of them, in order, if None.

        Yields:
            (B, C, S, S) uint8 on the CPU, with B of ``TOGETHER`` at most.
        """
        from vqbench.images import batches, with_progress

        positions = torch.arange(len(self.training)) if order is None else order
        yield from with_progress(batches(self.training, positions, TOGETHER), self.progress)

    def shared(self, compute: Callable[..., Result], *args: Hashable) -> Result:
        """Return ``compute(self, *args)``, computed once for all metrics."""
        key = compute, args
        if key not in self._shared:
            self._shared[key] = compute(self, *args)
        result: Result = self._shared[key]
        return result


class SampleMetric(Metric):
    """One number about a generator: :meth:`measure` gets all its samples at once.

    Undefined for the reconstructions of an autoencoder.
    """

    of_samples = True
    needs_training: ClassVar[bool] = False  # uses `training`, or the images themselves, not features alone
    of_likelihood: ClassVar[bool] = False  # measures `test_bits`, the likelihood of test images, and no samples
    knobs = (*Metric.knobs, "fid_resize")

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ("inception_fid",)

    def reset(self) -> None:
        self.state = {}

    def update(self, batch: Batch) -> None:
        return None

    def compute(self) -> None:
        return None

    def measure(self, samples: Samples) -> float | None:
        """Return the value of ``samples``, in ``unit``.

        None where the metric is undefined for such a generator.

        Raises:
            RunError: Too few samples or references.
        """
        raise NotImplementedError


class ImageMetric(Metric):
    """A mean over images of a value per image, by :meth:`values`.

    >>> class WorstPixel(ImageMetric):
    ...     label, better, digits = "worst pixel", "min", 4
    ...     def values(self, batch):
    ...         return (batch.originals - batch.reconstructions).abs().flatten(1).amax(1)
    """

    def reset(self) -> None:
        self.state = {"sum": torch.zeros((), dtype=torch.float64), "count": torch.zeros((), dtype=torch.float64)}

    def values(self, batch: Batch) -> Tensor:
        """Return the value of each image, (B,) of any float type, on any device.

        Raises:
            RunError: The images cannot be measured, for example because they are too small.
        """
        raise NotImplementedError

    def update(self, batch: Batch) -> Tensor:
        values = self.values(batch).double().cpu()  # (B,)
        self.state["sum"] += values.sum()
        self.state["count"] += len(values)
        return values

    def compute(self) -> float:
        return float(self.state["sum"] / self.state["count"])
