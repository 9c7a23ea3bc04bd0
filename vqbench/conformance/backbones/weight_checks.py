"""Check gradients, seeds, state and the second phase of a backbone."""

from __future__ import annotations

import io
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqbench.backbone import Backbone
from vqbench.conformance.backbones.case import BackboneCase, reconstruct, refines, train_step, weights_exist
from vqbench.conformance.comparison import differing, same, state
from vqbench.conformance.outcome import Check, Fail, Skip


def every_parameter_learns(case: BackboneCase) -> None:
    """Every parameter gets a finite gradient that is not zero.

    In the first phase of training, or in the second where one exists.
    """
    backbone = case.build()
    largest: dict[str, float] = {}
    _train(case, backbone, largest)
    if _without(largest) and refines(backbone):
        _train(case, backbone, largest)
    if without := _without(largest):
        raise Fail(
            f"no gradient reaches {', '.join(without[:5])} in three steps",
            "use it in encode or decode, or leave it out",
        )


def _train(case: BackboneCase, backbone: Backbone, largest: dict[str, float]) -> None:
    for step in range(3):
        train_step(backbone, case.images(backbone, seed=step), seed=step)
        for name, parameter in backbone.named_parameters():
            gradient = parameter.grad
            if gradient is not None and not gradient.isfinite().all():
                raise Fail(f"the gradient of {name} is not finite", "look for a division by zero, or an overflow")
            size = 0.0 if gradient is None else float(gradient.abs().max())
            largest[name] = max(largest.get(name, 0.0), size)


def _without(largest: dict[str, float]) -> list[str]:
    return [name for name, size in largest.items() if size == 0]


def images_learn(case: BackboneCase) -> None:
    """Gradients pass from images through decode and encode to the input."""
    backbone = case.build()
    x = case.images(backbone).requires_grad_()
    z = backbone.encode(x)
    gradient = torch.autograd.grad(backbone.decode(z).square().sum(), z, retain_graph=True)[0]
    if not gradient.isfinite().all() or not (gradient.flatten(1).abs().sum(1) > 0).all():
        raise Fail("no gradient passes from images to features", "leave out detach() and no_grad() in decode")
    [through] = torch.autograd.grad(z.square().sum(), x)
    if not through.isfinite().all() or not (through.flatten(1).abs().sum(1) > 0).all():
        raise Fail("no gradient passes from features to images", "leave out detach() and no_grad() in encode")


def last_layer_is_last(case: BackboneCase) -> None:
    """``last_layer`` is a weight of the decoder: images depend on it, features not."""
    backbone = case.build()
    weight = backbone.last_layer()
    if not any(weight is each for each in backbone.parameters()) or weight.ndim < 2:
        raise Fail("last_layer() is no weight of the backbone", "return the weight of the decoder's last layer")
    z = backbone.encode(case.images(backbone))
    of_features = torch.autograd.grad(z.square().sum(), weight, retain_graph=True, allow_unused=True)[0]
    of_images = torch.autograd.grad(backbone.decode(z).square().sum(), weight, allow_unused=True)[0]
    if of_features is not None or of_images is None or not of_images.abs().sum() > 0:
        raise Fail(
            "last_layer() is not in the decoder", "register the decoder after the encoder, or override last_layer()"
        )


def one_seed_one_model(case: BackboneCase) -> None:
    """The same seeds give the same weights and training, bit for bit.

    Another seed gives other weights, and only torch's default generator is used.
    """
    foreign = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]  # of the legacy form
    first, second, other = case.trained(), case.trained(), case.build(seed=1)
    if (random.getstate(), np.random.get_state()[1].tobytes()) != foreign:  # type: ignore[index]  # likewise
        raise Fail("draws from Python's or numpy's generator", "draw from torch's default generator")
    if names := differing(state(first), state(second)):
        raise Fail(
            f"built and trained twice after the same seeds, {', '.join(names[:3])} differ",
            "draw from torch's default generator",
        )
    if case.build().codebook is None and not differing(state(case.build()), state(other)):
        raise Fail("another seed gives the same weights", "leave seeding to the recipe")


def state_is_complete(case: BackboneCase) -> None:
    """Saved and loaded into a new object, it trains on as the original."""
    original = case.trained()
    restored = _loaded(case, original)
    for step in (7, 8):
        x = case.images(original, seed=step)
        losses = [train_step(each, x, seed=step) for each in (original, restored)]
        if not same(*losses) or (names := differing(state(original), state(restored))):
            raise Fail(
                "after saving and loading, the next steps differ",
                "keep all that training changes in parameters and buffers",
            )
    x = case.images(original)
    if names := differing(reconstruct(original, x), reconstruct(restored, x)):
        raise Fail(f"after saving and loading, other {', '.join(names)}", "keep all of it in the state dict")


def _loaded(case: BackboneCase, original: Backbone) -> Backbone:
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    restored = case.build(seed=99)
    restored.load_state_dict(torch.load(file, weights_only=True))
    return restored


def checkpointable(case: BackboneCase) -> None:
    """Computed again in the backward pass, it has the same gradients.

    Recipes do so where memory is short (``accumulate``).
    """
    plain, again = case.trained(), case.trained()
    x = case.images(plain, seed=5)
    gradients = []
    for backbone, recomputed in ((plain, False), (again, True)):
        torch.manual_seed(0)
        backbone.zero_grad()
        gradients.append(_gradients(backbone, x, recomputed))
    names = [
        name
        for name, value in gradients[0].items()
        if not torch.allclose(value, gradients[1][name], rtol=1e-3, atol=1e-5)
    ]
    if names:
        raise Fail(
            f"computed twice, {', '.join(names[:3])} has another gradient",
            "draw from torch's default generator alone, and let no pass depend on the one before",
        )


def _gradients(backbone: Backbone, x: Tensor, recomputed: bool) -> dict[str, Tensor]:
    if recomputed:
        z = checkpoint(backbone.encode, x, use_reentrant=False)
        y = checkpoint(backbone.decode, z, use_reentrant=False)
    else:
        y = backbone.decode(backbone.encode(x))
    F.mse_loss(y, x, reduction="sum").backward()
    return {name: each.grad for name, each in backbone.named_parameters() if each.grad is not None}


def evaluation_is_fixed(case: BackboneCase) -> None:
    """Evaluation repeats bit for bit, and changes nothing."""
    backbone = case.trained()
    x = case.images(backbone)
    before = state(backbone.eval())
    first = reconstruct(backbone, x)
    torch.manual_seed(1)
    second = reconstruct(backbone, x)
    if names := differing(first, second) + differing(before, state(backbone)):
        raise Fail(f"a second evaluation has other {', '.join(names[:3])}", "draw and update only while self.training")


def second_phase(case: BackboneCase) -> None:
    """The second phase trains the decoder alone, and survives saving.

    Features stay as they were.
    """
    backbone = case.trained()
    x = case.images(backbone)
    features = reconstruct(backbone, x)["features"]
    if not refines(backbone):
        raise Skip("has no second phase of training")
    for step in range(2):
        train_step(backbone, case.images(backbone, seed=step), seed=step)
    if not torch.equal(reconstruct(backbone, x)["features"], features):
        raise Fail("the second phase changes features", "freeze all but the decoder in begin_refinement()")
    restored = case.build(seed=99)
    refines(restored)
    restored.load_state_dict(backbone.state_dict())
    if names := differing(reconstruct(backbone, x), reconstruct(restored, x)):
        raise Fail(
            f"after saving and loading, other {', '.join(names)}",
            "keep all of it in the state dict",
        )


def codebook_fits(case: BackboneCase) -> None:
    """A codebook of trained weights is (K, dim) float32."""
    codebook = case.build().codebook
    if codebook is None:
        raise Skip("brings no codebook")
    if codebook.ndim != 2 or codebook.shape[1] != case.dim or codebook.dtype != torch.float32:
        raise Fail(f"codebook is {codebook.dtype} {tuple(codebook.shape)}", f"make it (K, {case.dim}) float32")


CHECKS = (
    Check(every_parameter_learns, only_if=weights_exist),
    Check(images_learn),
    Check(last_layer_is_last, only_if=weights_exist),
    Check(one_seed_one_model, only_if=weights_exist),
    Check(state_is_complete, only_if=weights_exist),
    Check(checkpointable, only_if=weights_exist),
    Check(evaluation_is_fixed),
    Check(second_phase),
    Check(codebook_fits),
)
