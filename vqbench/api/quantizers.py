"""Quantizers by name, for a training loop of your own."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vqbench import registry
from vqbench.api.arguments import plain, whole_number
from vqbench.errors import UsageError, VqbenchError

if TYPE_CHECKING:
    from vqbench.quantizer import Quantizer


class QuantizerInfo(NamedTuple):
    """One name that :func:`create_quantizer` takes, and what it is."""

    name: str
    origin: str  # built-in, file, package, or the quantizer that it is a preset of
    summary: str  # one sentence, or why the plugin cannot be used
    paper: str  # authors, title, venue


def create_quantizer(name: str | Path, *, num_codes: int, dim: int, **arguments: Any) -> Quantizer:
    """Create a quantizer for your own training loop.

    It is an ``nn.Module``: ``forward`` takes a feature map (B, dim, H, W) and returns a
    :class:`~vqbench.quantizer.QuantizerOutput` with ``z_q`` (B, dim, H, W) for the decoder, ``codes``
    (B, H, W, depth) int64 and ``loss`` (), the method's own terms. ``quantizer.objective`` joins the loss and a
    reconstruction error, also for methods where that is no plain sum. Codebooks move in training mode alone.

    Args:
        name: a quantizer or preset of :func:`list_quantizers`, or the path of a .py file that defines one.
        num_codes: codes per position, at least 2; methods without a codebook choose the nearest size that they have.
        dim: channels of the feature map, at least 1.
        **arguments: further arguments of the method, as ``vqbench info quantizer NAME`` lists them.

    Raises:
        UsageError: for an unknown name, a wrong argument, or a package that is not installed.

    >>> import torch, vqbench
    >>> quantizer = vqbench.create_quantizer("cvq_online", num_codes=512, dim=64)
    >>> out = quantizer(torch.randn(2, 64, 7, 7))
    >>> tuple(out.z_q.shape), tuple(out.codes.shape)
    ((2, 64, 7, 7), (2, 7, 7, 1))
    """
    budget = {"num_codes": whole_number("num_codes", num_codes, 2), "dim": whole_number("dim", dim)}
    if str(name).endswith(".py"):
        registry.add_file(name)
        name = Path(name).stem
    known, _, _ = registry.find("quantizers", str(name))
    if missing := registry.lacks("quantizers", known):
        raise UsageError(missing)
    found = registry.resolve("quantizers", str(name), plain(arguments), budget)
    quantizer: Quantizer = registry.create("quantizers", found.name, **found.args)
    return quantizer


def list_quantizers() -> list[QuantizerInfo]:
    """List all quantizers and presets, built in or from files and packages.

    >>> import vqbench
    >>> [info.name for info in vqbench.list_quantizers() if info.name.startswith("cvq")]
    ['cvq', 'cvq_farthest', 'cvq_grouped', 'cvq_offline', 'cvq_online']
    """
    plugins = [_described(name, source.origin) for name, source in registry.sources("quantizers").items()]
    presets = [
        _described(plugin, f"preset of {plugin}")._replace(name=preset)
        for preset, (plugin, _) in registry.presets("quantizers").items()
    ]
    return sorted(plugins + presets)


def _described(name: str, origin: str) -> QuantizerInfo:
    try:
        cls = registry.load("quantizers", name)
    except VqbenchError as error:
        return QuantizerInfo(name, origin, f"cannot be used: {error}", "")
    return QuantizerInfo(name, origin, str(inspect.getdoc(cls) or "").split("\n")[0], cls.paper)
