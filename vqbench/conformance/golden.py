"""The golden check of ``vqbench doctor``: whether this installation computes what it computed where it was made.

Fixed weights and inputs, all in closed form, go through every built-in quantizer, one backbone and every metric; the
results are compared with those kept in ``golden.json``. Other instruction sets and thread counts of one machine move
them by at most 5e-6. After a change that moves a value on purpose, ``python -m vqbench.conformance.golden`` writes the
file anew; values that need weights which are not in the cache stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqbench import assets, protocol, registry
from vqbench.conformance.case import Case
from vqbench.errors import counted
from vqbench.images import as_measured, to_unit
from vqbench.metric import Batch, Context, Metric, SampleMetric, Samples
from vqbench.quantizer import Quantizer

FILE = "golden.json"
IMAGES = 8  # of the shipped test split
SMALL = 1e-3  # added to a kept value before a deviation is divided by it, since some values are 0
STEP = 0x9E377  # odd: multiples of squares of positions, modulo 2^32, are phases without a visible pattern
Values = dict[str, float]


@dataclass(frozen=True)
class ValueGroup:
    """Values that are computed together, and how far they may deviate: \\|value - kept\\| / (\\|kept\\| + 0.001)."""

    name: str
    compute: Callable[[], Values]
    tolerance: float
    asset: str | None = None  # weights without which it is skipped


@dataclass(frozen=True)
class GroupResult:
    """How one group ended: its state and one line about it."""

    name: str
    state: Literal["PASS", "SKIP", "FAIL"]
    about: str


def check(kept: Mapping[str, Values] | None = None) -> list[GroupResult]:
    """Compute every group whose weights are on this machine, and compare it with what is ``kept`` (the file's)."""
    kept = _kept() if kept is None else kept
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # inputs are small: on a busy machine, threads that wait for one another take minutes
    try:
        return [_compared(group, kept.get(group.name)) for group in GROUPS]
    finally:
        torch.set_num_threads(threads)


def _compared(group: ValueGroup, kept: Values | None) -> GroupResult:
    if group.asset and assets.state(group.asset) == "missing":
        return GroupResult(group.name, "SKIP", f"needs the weights {group.asset}; `vqbench prepare SUITE` fetches them")
    if kept is None:
        return GroupResult(group.name, "SKIP", "no values are kept to compare with")
    try:
        found = group.compute()
    except Exception as error:  # of whatever library: this is what the check is for
        return GroupResult(group.name, "FAIL", f"cannot be computed: {type(error).__name__}: {error}")
    if found.keys() != kept.keys():
        other = sorted(found.keys() ^ kept.keys())
        return GroupResult(group.name, "FAIL", f"not the values that are kept: {', '.join(other[:5])}")
    deviations = {name: _deviation(found[name], kept[name]) for name in kept}
    worst = max(deviations, key=lambda name: deviations[name])
    largest = f"largest deviation {deviations[worst]:.1e} ({worst}), tolerance {group.tolerance:.0e}"
    about = f"{counted(len(kept), 'value')}, {largest}"
    return GroupResult(group.name, "PASS" if deviations[worst] <= group.tolerance else "FAIL", about)


def _deviation(found: float, kept: float) -> float:
    deviation = abs(found - kept) / (abs(kept) + SMALL)
    return deviation if math.isfinite(deviation) else math.inf


def _kept() -> dict[str, Values]:
    kept: dict[str, Values] = json.loads((resources.files("vqbench.conformance") / FILE).read_text(encoding="utf-8"))
    return kept


def main() -> None:
    """Write the values of this machine into the package."""
    kept = _kept() if (resources.files("vqbench.conformance") / FILE).is_file() else {}
    for group in GROUPS:
        if group.asset and assets.state(group.asset) == "missing":
            print(f"{group.name}: left as it was, without {group.asset}", file=sys.stderr)
            continue
        kept[group.name] = {name: float(f"{value:.9g}") for name, value in group.compute().items()}
    text = json.dumps({group.name: kept[group.name] for group in GROUPS if group.name in kept}, indent=1)
    Path(str(resources.files("vqbench.conformance") / FILE)).write_text(text + "\n", encoding="utf-8")


# Closed forms ---------------------------------------------------------------------------------------------------------


def wave(name: str, *shape: int) -> Tensor:
    """Numbers in [-1, 1] that look random, by ``name``, alike everywhere: sines of the squares of their positions."""
    i = torch.arange(math.prod(shape))
    turns = ((i * i * STEP + zlib.crc32(name.encode())) % 2**32).double() / 2**32  # exact, so the same everywhere
    return torch.sin(2 * math.pi * turns).float().reshape(shape)


@torch.no_grad()
def fill(module: nn.Module) -> nn.Module:
    """Give every parameter and every floating buffer values by its name; scalars and counters keep their own."""
    for path, part in module.named_modules():
        weighs = isinstance(part, nn.Linear | nn.modules.conv._ConvNd)
        for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if not value.is_floating_point() or value.ndim == 0:
                continue
            filled = wave(f"{path}.{name}", *value.shape)
            if value.ndim == 1:  # biases around 0; gains, counts and variances around 1
                filled = filled / 2 if "bias" in name else 1 + filled / 2
            elif weighs:
                filled = filled * math.sqrt(2 * value.shape[0] / value.numel())
            value.copy_(filled)
    return module.eval()


def _moments(name: str, values: Tensor) -> Values:
    """Two numbers that move with every element of ``values``."""
    exact = values.detach().double().cpu()
    weights = wave("weights", *exact.shape).double()
    return {f"{name} mean square": float(exact.square().mean()), f"{name} projection": float((exact * weights).mean())}


# Groups ---------------------------------------------------------------------------------------------------------------


def _levels(split: Literal["train", "test"] = "test") -> Tensor:
    """The first images: (IMAGES, 1, 28, 28) uint8."""
    dataset: Any = registry.load("datasets", "fashion_mnist_5k")()
    levels: Tensor = dataset.pixels(split)[:IMAGES]
    return levels


def _images() -> Values:
    """The digest of the shipped images, as a number that any other byte changes."""
    return {"digest": int(hashlib.sha256(_levels().numpy().tobytes()).hexdigest()[:7], 16)}


def _backbone() -> Values:
    """Encoding and decoding by the convolutional backbone."""
    backbone: Any = fill(registry.load("backbones", "conv")(channels=1, dim=8, hidden=16, residual_hidden=8))
    with torch.no_grad():
        z = backbone.encode(to_unit(_levels()))
        return _moments("encoded", z) | _moments("decoded", backbone.decode(z))


def quantizers() -> Iterator[Case]:
    """Every built-in quantizer and preset; not those of another package, whose release decides what they compute."""
    for name in [*registry.names("quantizers"), *registry.presets("quantizers")]:
        plugin, cls, args = registry.find("quantizers", name)
        if registry.sources("quantizers")[plugin].origin == "built-in" and plugin != "lucidrains":
            yield Case(name, cls, args)


def _quantizers() -> Values:
    values: Values = {}
    for case in quantizers():
        values |= forward(case.name, case.build(), wave("features", 2, case.dim, 7, 7))
    return values


def forward(name: str, quantizer: Quantizer, z: Tensor) -> Values:
    """Output, codes, loss and gradient of one pass in evaluation, with filled weights."""
    fill(quantizer)
    z = z.requires_grad_()
    out = quantizer(z)
    found = _moments(f"{name} output", out.z_q) | {f"{name} loss": float(out.loss.detach())}
    if quantizer.depth:
        found |= _moments(f"{name} codes", out.codes + 1)
    target = out.loss + (out.z_q * wave("target", *out.z_q.shape)).sum()
    if target.requires_grad:  # some hand their gradient on in training alone
        found |= _moments(f"{name} gradient", torch.autograd.grad(target, z)[0])
    return found


def _batch(name: str) -> tuple[Context, Batch]:
    """Originals, distorted copies and codes as the protocol ``name`` measures them."""
    measured, x = protocol.measuring(name), to_unit(_levels())
    y = x + wave("distortion", *x.shape) / 4
    codes = (wave("codes", IMAGES, 7, 7, 1).abs() * 32).long()
    batch = Batch(as_measured(x, measured), as_measured(y, measured), codes, torch.arange(IMAGES))
    return Context(measured, "golden", 64, 6.0, torch.device("cpu"), keep=False), batch


def _measured(*names: str) -> Values:
    """The metrics ``names`` under every measuring protocol."""
    values: Values = {}
    for each in protocol.MEASURE:
        context, batch = _batch(each)
        for name in names:
            metric: Any = registry.load("metrics", name)(context)
            metric.update(batch)
            values[f"{name} under {each}"] = metric.compute()
    return values


def _samples() -> Values:
    """The metrics of generated images, on features in closed form, which need no network."""
    values: Values = {}
    features = wave("samples", 64, 16), wave("references", 64, 16) * 1.1
    for each in protocol.MEASURE:
        context, _ = _batch(each)
        samples = Samples(_levels(), _levels("train"), lambda: features[0], lambda: features[1])
        for name in registry.names("metrics"):
            cls: type[Metric] = registry.load("metrics", name)
            if issubclass(cls, SampleMetric):
                values[f"{name} under {each}"] = cls(context).measure(samples)
    return values


def _inception() -> Values:
    """The features that rFID, KID and FID are made of, by both ways of resizing."""
    from vqbench.networks import inception

    net = inception.network(torch.device("cpu"))
    values: Values = {}
    for name, measured in protocol.MEASURE.items():
        _, batch = _batch(name)
        values |= _moments(f"features under {name}", inception.features(net, batch.originals[:2], measured.fid_resize))
    return values


GROUPS = (
    ValueGroup("images", _images, 0),
    ValueGroup("backbone", _backbone, 1e-4),
    ValueGroup("quantizers", _quantizers, 1e-4),
    ValueGroup("metrics of pixels", lambda: _measured("l1", "psnr", "ssim"), 1e-3),
    ValueGroup("metrics of codes", lambda: _measured("usage", "perplexity", "bits"), 1e-6),
    ValueGroup("metrics of samples", _samples, 1e-4),
    ValueGroup("LPIPS", lambda: _measured("lpips"), 1e-3, "vgg16_lpips"),
    ValueGroup("Inception features", _inception, 1e-3, "inception_fid"),
)

if __name__ == "__main__":
    main()
