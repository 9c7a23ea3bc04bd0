"""The contract of a recipe: a way to train, and the task that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vqbench.errors import counted

if TYPE_CHECKING:
    from vqbench.backbone import Autoencoder
    from vqbench.dataset import Dataset
    from vqbench.spec import Seeds
    from vqbench.training.capture.captured_update import UpdateCapture
    from vqbench.training.codebook_monitor import CodebookMonitor
    from vqbench.training.engine import Engine
    from vqbench.training.latents.generator import Generator


@dataclass
class Task:
    """One run, ready to be trained."""

    model: Autoencoder
    dataset: Dataset
    seeds: Seeds  # (purpose, counters ...) -> seed
    engine: Engine
    folder: Path  # of the recipe's checkpoints: last.pt, best.pt
    monitor: CodebookMonitor  # counts the codes
    progress: Callable[[int, int], None] = lambda done, total: None  # called with the updates done, and in all
    stopped: Callable[[], bool] = lambda: False  # polled after every update: if true, save and raise Interrupted
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda entry: None  # called with each epoch's entry of the history
    on_updates: Callable[[int, Mapping[str, float]], None] | None = None  # called every 50 updates with mean losses
    checkpoint_interval: float = 15.0  # least seconds between checkpoints
    capture: UpdateCapture | None = None  # replays updates as a CUDA graph; None: not asked for


@dataclass
class Trained:
    """The outcome of a finished training."""

    seconds: float  # spent in training, over all restarts
    history: list[dict[str, Any]] = field(default_factory=list)  # one mapping per epoch
    origins: list[dict[str, Any]] | None = None  # machines that trained part of it; None: this one, see add_origin


class Recipe:
    """A way to train, from a :class:`Task` to trained weights.

    All arguments of the constructor are named, annotated and part of the key of a run. Only :meth:`fit` must be
    written. The planner, tables and workers never read a recipe's arguments: they call the methods below and read these
    attributes, whose defaults suit a recipe that says nothing. What a recipe does not know is shown as unknown.
    """

    VERSION: ClassVar[int] = 1
    LATER: ClassVar[Mapping[str, Any]] = {}  # arguments added after runs were published -> what was done before
    exempt: ClassVar[Mapping[str, str]] = {}  # checks of `vqbench check` that it need not pass -> the reason
    check_args: ClassVar[Mapping[str, Any]] = {}  # of a short training, by which `vqbench check` tests the class
    packages: ClassVar[tuple[str, ...]] = ()  # modules of other packages, without which it cannot train
    install: ClassVar[str] = ""  # what pip installs them by, where that is not their names
    distributed: ClassVar[bool] = False  # True: ``fit`` may be called on several ranks, and divides each batch
    captures: ClassVar[bool] = False  # True: ``fit`` uses ``task.capture``
    on_features: ClassVar[bool] = False  # True: data sets of features, without images, will do as well
    second_stage: ClassVar[bool] = False  # True: trains a generator on a trained autoencoder; see SecondStage
    takes_parent: ClassVar[bool] = False  # True: starts from the backbone of another run, if a suite names a parent
    needs_parent: ClassVar[bool] = False  # True: likewise, and cannot train without a parent
    reducible: ClassVar[tuple[str, ...]] = ("epochs", "batch_size", "subset")  # arguments that a reduced copy may set
    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # argument of a reduced copy -> those that give way to it
    scaling: ClassVar[tuple[str, ...]] = ()  # arguments that change how many updates there are, not what one costs

    precision: Literal["float32", "tf32", "bf16"] = "float32"  # of the engine in its tasks

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        """Return why it cannot train on such data and what would work, or None.

        Args:
            train, test: images of each split.
            holdout: how many of the last training images are kept for selection, if it selects by them.
            size: pixels a side of each image.
        """
        return None

    def fit(self, task: Task) -> Trained:
        """Train ``task.model``, resuming from ``task.folder`` where possible.

        Leaves the selected weights in the model and in ``best.pt``. Raises RunError if the training fails, and
        Interrupted after saving a checkpoint where ``task.stopped()`` is true.
        """
        raise NotImplementedError

    def images(self, train: int, holdout: int) -> int:
        """Return how many images it learns from, of ``train`` in all.

        ``holdout``: how many are kept for selection, if it selects by them.
        """
        return train

    def updates(self, images: int) -> int | None:
        """Return the updates of a whole training on so many images.

        None: not known beforehand.
        """
        return None

    def images_shown(self, images: int) -> int | None:
        """Return the images in all updates of a training on so many.

        Each counts as often as it occurs. None: not known beforehand.
        """
        return None

    def about(self) -> str:
        """Return the summary for captions, such as "2 epochs, batch 64".

        Empty: all arguments are listed.
        """
        return ""


def too_large(batch_size: int, train: int, subset: int | None) -> str | None:
    """Return what is wrong with a batch size for so many images, or None."""
    count = min(train, subset or train)
    if batch_size <= count:
        return None
    more = f", or take a subset of {batch_size:,} or more" if count < batch_size <= train else ""
    return f"batch_size {batch_size} is larger than the {counted(count, 'training image')}; lower it{more}"


class SecondStage(Recipe):
    """A way to train a generator on a trained autoencoder.

    The autoencoder comes as ``task.model`` and is not changed.

    ``fit`` leaves the ``state_dict`` of the trained :meth:`generator` in ``best.pt``. Sampled images are compared with
    the training images that the generator learned from, which :attr:`subset` and :attr:`mirrored` describe.
    """

    second_stage: ClassVar[bool] = True
    likelihood: ClassVar[bool] = False  # True: its generators say what codes cost, see Generator.code_bits
    sampler: ClassVar[Mapping[str, float]]  # settings that its generators are sampled with -> their defaults

    subset: int | None = None  # how many of the first training images it learns from; None: all
    mirrored: bool = False  # whether it learns from mirrored images as well

    @classmethod
    def wrong_setting(cls, name: str, value: Any) -> str | None:
        """Return what a sampler setting should be, such as "from 0 to 1"; None if it is.

        Called when a suite is planned.
        """
        return None if type(value) in (int, float) else "a number"

    def generator(self, first: Autoencoder, channels: int, size: int) -> Generator:
        """Return an untrained generator of images (B, channels, size, size).

        It is on the device of ``first``.

        Raises UsageError if a package that it needs is not installed.
        """
        raise NotImplementedError
