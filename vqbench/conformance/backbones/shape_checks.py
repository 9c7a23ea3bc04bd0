"""Check constructor, shapes, sizes and precision of a backbone."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.conformance.backbones.case import BackboneCase, reconstruct, train_step
from vqbench.conformance.declarations import require_arguments, require_documented
from vqbench.conformance.outcome import Check, Fail, Skip


def backbone_constructor(case: BackboneCase) -> None:
    """Channels and dim come first; own arguments have annotation and type.

    The class has a paper and a docstring.
    """
    require_arguments(case, ("channels", "dim"), defaults=False)
    require_documented(case, "paper")


def maps_and_images(case: BackboneCase) -> None:
    """encode gives (B, dim, s, s), and decode images of the size encoded.

    For grey and colour, in training and in evaluation.
    """
    for channels in (1, 3):
        backbone = case.build(channels=channels)
        x = case.images(backbone, 2, channels)
        for mode in (True, False):
            backbone.train(mode)
            z = backbone.encode(x)
            _require_map(case, z, x, backbone.factor)
            y = backbone.decode(z)
            if y.shape != x.shape or not y.isfinite().all():
                raise Fail(
                    f"images {tuple(x.shape)} come back as {tuple(y.shape)}, or not finite",
                    "make decode the way back of encode, to as many channels as __init__ was given",
                )


def _require_map(case: BackboneCase, z: Tensor, x: Tensor, factor: int | None) -> None:
    if z.ndim != 4 or z.shape[:2] != (len(x), case.dim) or z.shape[2] != z.shape[3]:
        raise Fail(
            f"encode maps {tuple(x.shape)} to {tuple(z.shape)}",
            f"return (B, dim, s, s), here ({len(x)}, {case.dim}, s, s)",
        )
    if factor is not None and z.shape[-1] * factor != x.shape[-1]:
        raise Fail(
            f"{x.shape[-1]} pixels become {z.shape[-1]} positions, but `factor` is {factor}",
            "make factor the pixels per position along a side, or leave it None",
        )


def several_sizes(case: BackboneCase) -> None:
    """Images of several sizes come back in theirs, each independent of others.

    In evaluation, an image alone gives what it gives in a batch.
    """
    backbone = case.build()
    for times in (2, 3):
        side = case.side(backbone, times)
        x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(times)) * 2 - 1
        out = reconstruct(backbone, x)
        if out["images"].shape != x.shape:
            raise Fail(
                f"images of {side} pixels come back with {out['images'].shape[-1]}",
                "take sizes from the input, not from an argument",
            )
        alone = reconstruct(backbone, x[1:])
        for name in out:
            if not torch.allclose(out[name][1:], alone[name], rtol=1e-3, atol=1e-4):
                raise Fail(f"an image alone has other {name} than in a batch", "use no statistic of the batch")


def outline_agrees(case: BackboneCase) -> None:
    """``outline`` has the same parameters, by name and shape, without memory."""
    backbone = case.build()
    with torch.device("meta"), torch.no_grad():
        outline = case.cls.outline(3, case.dim, **case.args)
        side = case.side(backbone)
        shape = outline.decode(outline.encode(torch.zeros(1, 3, side, side))).shape
    kinds = [{name: value.shape for name, value in each.named_parameters()} for each in (backbone, outline)]
    if kinds[0] != kinds[1]:
        other = sorted(dict(kinds[0].items() ^ kinds[1].items()))
        raise Fail(f"outline has another {', '.join(other[:3])}", "return the same modules, without reading any file")
    if shape != (1, 3, side, side):
        raise Fail(f"on the meta device, images come back as {tuple(shape)}", "create tensors on the input's device")


def layouts(case: BackboneCase) -> None:
    """Channels-last images give the results of contiguous ones."""
    backbone = case.trained()
    x = case.images(backbone)
    kept = x.clone()
    wanted, other = reconstruct(backbone, x), reconstruct(backbone, x.to(memory_format=torch.channels_last))
    for name in wanted:
        if not torch.allclose(wanted[name], other[name], rtol=1e-3, atol=1e-4):
            raise Fail(f"channels-last images give other {name}", "use reshape in place of view")
    if not torch.equal(kept, x):
        raise Fail("the images are changed in place", "create a new tensor: recipes compare with the same images")


def half_precision(case: BackboneCase) -> None:
    """Under bfloat16 autocast it trains and reconstructs as in float32, roughly.

    Weights stay float32.
    """
    backbone = case.trained()
    x = case.images(backbone)
    wanted = reconstruct(backbone, x)["images"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = reconstruct(backbone, x)["images"].float()
    error, size = float((got - wanted).square().mean().sqrt()), float(wanted.square().mean().sqrt())
    if not error <= 0.1 * size + 0.02:
        raise Fail(
            f"under autocast images differ by {error:.2g}, of {size:.2g} in root mean square",
            "compute norms, sums over many values and exponentials in float32",
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = train_step(backbone, x, seed=5)
    if not loss.isfinite() or any(not each.isfinite().all() for each in backbone.parameters()):
        raise Fail("under autocast a training step gives NaN", "compute norms and exponentials in float32")
    if other := [name for name, each in backbone.named_parameters() if each.dtype != torch.float32]:
        raise Fail(f"{', '.join(other[:3])} is no longer float32", "leave the type of parameters alone")


def on_gpu(case: BackboneCase) -> None:
    """On a GPU it reconstructs as on a CPU."""
    if not torch.cuda.is_available():
        raise Skip("no GPU here")
    backbone = case.trained()
    x = case.images(backbone)
    wanted = reconstruct(backbone, x)["images"]
    got = reconstruct(backbone.cuda(), x.cuda())["images"].cpu()
    if not torch.allclose(got, wanted, rtol=1e-2, atol=1e-2):
        raise Fail(
            f"images on a GPU differ by {float((got - wanted).abs().max()):.2g}", "create tensors with device=x.device"
        )


CHECKS = (
    Check(backbone_constructor),
    Check(maps_and_images),
    Check(several_sizes),
    Check(outline_agrees),
    Check(layouts),
    Check(half_precision),
    Check(on_gpu),
)
