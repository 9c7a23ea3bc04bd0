"""A quantizer alone: fitted to features that are held fixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from vqbench.bounds import PositiveFloat, PositiveInt
from vqbench.errors import RunError, counted
from vqbench.images import first_images
from vqbench.quantizer import QuantizerOutput
from vqbench.recipe import Recipe, Task, Trained, too_large
from vqbench.recipes.autoencoder import ObjectiveTraining
from vqbench.training import encoded_features
from vqbench.training.checkpoint import Progress
from vqbench.training.learning_rates import Decay
from vqbench.training.loop import TrainingLoop

if TYPE_CHECKING:
    from vqbench.dataset import Images


class AtomicRecipe(Recipe):
    """Adam on the quantizer's ``objective`` alone, of features that are held fixed.

    Its betas are 0.9 and 0.999. The training images are encoded once, by the backbone as it is, which is not trained:
    with a suite's ``parent``, by the trained backbone of that row's run, else by the initial weights. With a data set
    of features and the backbone ``space_to_depth``, the features are those of the data set. The quantizer then learns
    as in an autoencoder whose decoder is the identity: the error is the mean of (z_q - z)², divided by the variance of
    the features. They are neither centred nor scaled, so a quantizer meets them as in the training of an autoencoder.
    The weights after the last epoch are evaluated; the test split is not seen before.

    ``decay``: the learning rate is ``constant`` or falls to zero over all updates, ``linear``ly or along half a
    ``cosine``. ``subset``: how many of the first training images to fit to.

    Each image counts as ``batch_size`` counts it; of a data set of features, an image is one feature. A ``batch_size``
    of all images gives a method that computes its codebook at once, such as k-means, all features.
    """

    VERSION = 1
    check_args: ClassVar = {"epochs": 2, "batch_size": 6, "learning_rate": 1e-3}
    exempt: ClassVar = {"nan_is_an_error": "the decoder, which the check breaks, takes no part in the training"}
    distributed = True
    captures = True
    on_features = True
    takes_parent = True
    scaling = ("epochs", "subset")

    def __init__(
        self,
        *,
        epochs: PositiveInt,
        batch_size: PositiveInt,
        learning_rate: PositiveFloat,
        decay: Decay = "constant",
        subset: PositiveInt | None = None,
    ) -> None:
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.decay, self.subset = decay, subset

    def images(self, train: int, holdout: int) -> int:
        return min(train, self.subset or train)

    def updates(self, images: int) -> int:
        return math.ceil(images / self.batch_size) * self.epochs

    def images_shown(self, images: int) -> int:
        return images * self.epochs

    def about(self) -> str:
        rate = f"learning rate {self.learning_rate:g}" + f" with {self.decay} decay" * (self.decay != "constant")
        return f"{counted(self.epochs, 'epoch')}, batch {self.batch_size}, {rate}, fixed features"

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        return too_large(self.batch_size, train, self.subset)

    def fit(self, task: Task) -> Trained:
        return TrainingLoop(task, FittingToFeatures(self, task)).run()


@dataclass
class FittingProgress(Progress):
    """The progress of a fit to features."""

    loss: float = 0.0  # sums over the updates of the epoch so far
    error: float = 0.0


class FittingToFeatures(ObjectiveTraining):
    """Adam on the quantizer's objective; the error is that of the features."""

    progress: FittingProgress

    def __init__(self, recipe: AtomicRecipe, task: Task) -> None:
        self.recipe, self.task = recipe, task
        self.progress = FittingProgress()
        task.engine.setup(task.model.requires_grad_(False))
        learning = task.model.quantizer.requires_grad_(True)
        self.pixels = self._pixels()
        super().__init__(task, recipe, len(self.pixels))
        self.optimizer = self.adam(learning.parameters())  # of nothing, where running means learn

    def replicas(self) -> Mapping[str, nn.Module]:
        return {self.owner: self.quantizer}

    def begin(self) -> None:
        """Encode the images, by the weights of the checkpoint if one was loaded.

        The parent may have been trained anew since.
        """
        self.inputs = self._encoded()  # (N, dim, s, s)
        self.weight = self._weight()
        self.quantizer.train()

    def reconstruct(self, batch: Tensor) -> tuple[Tensor, Tensor, QuantizerOutput]:
        out = self.task.model.quantize_features(batch)
        return batch, out.z_q, out

    def backward(self, loss: Tensor) -> None:
        if loss.requires_grad:  # else no parameter took part, since fixed features have no gradient
            super().backward(loss)

    def end_epoch(self, epoch: int, means: dict[str, float]) -> dict[str, Any]:
        return {**means, "relative_error": means["error"] * self.weight}

    def finish(self) -> None:
        self.task.engine.save(self.task.folder / "best.pt", self.task.model.state_dict())

    def _pixels(self) -> Tensor | Images:
        """Return the training images, or features.

        Raises RunError where they do not fit the recipe.
        """
        pixels = self.task.dataset.pixels("train")
        if wrong := self.recipe.misfit(len(pixels), 0, 0, 0):
            raise RunError(wrong)
        return first_images(pixels, self.recipe.subset)

    def _encoded(self) -> Tensor:
        """Encode the training images once: (N, dim, s, s) on the device.

        Raises RunError where the codebook has more codes than there are features.
        """
        quantizer, features = self.quantizer, encoded_features.encoded(self.task, self.pixels)
        count = features.numel() // features.shape[1]
        if quantizer.depth > 0 and quantizer.num_codes > count:
            raise RunError(f"num_codes {quantizer.num_codes} is larger than all {count:,} training features; lower it")
        return features

    def _weight(self) -> float:
        """Return the factor of the error: 1 / mean variance of the dimensions."""
        spread = float(self.inputs.double().var((0, 2, 3), correction=0).mean())
        if spread == 0:
            raise RunError("all training features are equal, so that no error can be divided by their variance")
        return 1 / spread
