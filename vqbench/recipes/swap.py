"""Swap: another quantizer in a trained run, whose encoder stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vqbench.backbone import Backbone
from vqbench.bounds import PositiveFloat, PositiveInt
from vqbench.errors import RunError
from vqbench.images import to_unit
from vqbench.recipe import Task, Trained
from vqbench.recipes.autoencoder import ReconstructionRecipe
from vqbench.training.engine import Precision
from vqbench.training.learning_rates import Decay


class Swap(ReconstructionRecipe):
    """Put a quantizer into a trained run, and adapt the decoder to it.

    Encoder and decoder begin with the weights of the run's parent, the quantizer with its own. The encoder is frozen,
    so that all quantizers of a parent see the same features; quantizer and decoder are trained as by ``autoencoder``,
    on the same objective. What a quantizer would do to an encoder (commitment, gradients through its codes) has no
    effect here, which is the point, and the limit, of the comparison.

    A suite names the parent by the label of one of its rows: ``parent: identity``. The row is trained first, with its
    own ``train``, on the same data set and seed; its key is part of the key of each run that builds on it.

    Weights are frozen, modes are not: an encoder with dropout or batch normalization would still differ in training. No
    built-in backbone has either.

    ``epochs``: of the adaptation. The other arguments are those of ``autoencoder``, with the defaults of the protocol
    ``clean``.
    """

    needs_parent: ClassVar[bool] = True
    LATER: ClassVar[dict[str, Any]] = {}
    check_args: ClassVar = {"epochs": 2, "batch_size": 6, "learning_rate": 1e-3}

    def __init__(
        self,
        *,
        epochs: PositiveInt = 1,
        batch_size: PositiveInt = 1024,
        learning_rate: PositiveFloat = 3e-4,
        variance: Literal["unit", "matched"] = "matched",
        selection: Literal["test", "holdout", "last"] = "holdout",
        selection_pass: Literal["train", "eval"] = "eval",
        subset: PositiveInt | None = None,
        precision: Precision = "float32",
        decay: Decay = "constant",
    ) -> None:
        super().__init__(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            variance=variance,
            selection=selection,
            selection_pass=selection_pass,
            subset=subset,
            precision=precision,
            decay=decay,
        )

    def about(self) -> str:
        return f"frozen encoder, {super().about()}"

    def fit(self, task: Task) -> Trained:
        with frozen_encoder(task.model.backbone, to_unit(task.dataset.pixels("train")[:1])):
            return super().fit(task)


@contextmanager
def frozen_encoder(backbone: Backbone, image: Tensor) -> Iterator[None]:
    """Freeze the parameters that only the encoder uses, within this context.

    The others are found by the gradient of a decoded ``image``, (1, C, S, S) in [-1, 1].

    Raises:
        RunError: No trainable parameter is left to the decoder.
    """
    parameters = [each for each in backbone.parameters() if each.requires_grad]
    with torch.no_grad():
        z = backbone.encode(image.to(next(backbone.parameters()).device))
    total = backbone.decode(z).sum()
    unused = (None,) * len(parameters)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else unused
    if all(gradient is None for gradient in gradients):
        raise RunError("the decoder has no weights to adapt to another quantizer; swap it in another backbone")
    frozen = [each for each, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    try:
        for each in frozen:
            each.requires_grad_(False)
        yield
    finally:
        for each in frozen:
            each.requires_grad_(True)
