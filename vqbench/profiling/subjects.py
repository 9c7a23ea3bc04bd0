"""Resolve what is profiled: quantizers, their arguments, and peers.

Peers are quantizers of other packages.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from vqbench import registry
from vqbench.bounds import whole
from vqbench.errors import UsageError, nearest
from vqbench.planning import yamlfile

# Package of peers -> the module that it installs, and the quantizer that wraps it, whose presets the peers are.
PEERS = {"vector-quantize-pytorch": ("vector_quantize_pytorch", "lucidrains")}

_WRITTEN = re.compile(r"(?P<name>[\w./-]+)\s*(?:\((?P<args>.*)\))?", re.DOTALL)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)\s*=")  # the name of an argument


@dataclass(frozen=True)
class Size:
    """N features, K codes, D dimensions."""

    n: int
    k: int
    d: int


@dataclass(frozen=True)
class Subject:
    """One quantizer at one size.

    ``label`` is shown in tables; ``name`` and ``args`` are as in a run's key.
    """

    label: str
    name: str
    version: int
    args: dict[str, Any]
    size: Size

    def to_dict(self) -> dict[str, Any]:
        """Return the subject as JSON; :meth:`from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Subject:
        """Return the subject that :meth:`to_dict` wrote."""
        return cls(**{**data, "size": Size(**data["size"])})


def size(text: str) -> Size:
    """Parse ``N,K,D``. Raises UsageError unless it is three counts of 1 or more."""
    parts = [number for part in text.split(",") if (number := whole(part)) is not None]
    if len(parts) != 3 or text.count(",") != 2:
        raise UsageError(f"--size {text}: should be N,K,D, three whole numbers of 1 or more, such as 50176,512,64")
    return Size(*parts)


def subjects(names: Sequence[str], against: Sequence[str], sizes: Iterable[Size]) -> list[Subject]:
    """Return every quantizer of ``names`` and every peer, at every size.

    Without names, all quantizers and their presets.

    Raises UsageError for unknown names and arguments, and for peers whose package is not installed.
    """
    written = [each for text in names or everything() for each in expanded(text)]
    for peer in against:
        written += [(label, preset, {}) for label, preset in peers(peer).items()]
    return [_subject(*each, at) for at in sizes for each in written]


def everything() -> list[str]:
    """Return all registered quantizers, each followed by its presets.

    Those of other packages are named by ``--against``.
    """
    presets = registry.presets("quantizers")
    wrappers = {plugin for _, plugin in PEERS.values()}
    return [
        name
        for plugin in registry.names("quantizers")
        if plugin not in wrappers
        for name in (plugin, *(preset for preset, (owner, _) in presets.items() if owner == plugin))
    ]


def expanded(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Parse ``name`` or ``name(argument=value, ...)``; a list is a grid.

    Return (label, name, arguments) of each.

    >>> [label for label, _, _ in expanded("cvq(anchor=[random,closest],online=false)")]
    ['cvq(anchor=random,online=false)', 'cvq(anchor=closest,online=false)']
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} should be a quantizer such as vq, or with arguments, cvq(anchor=closest)")
    name, inner = match["name"], match["args"] or ""
    given = yamlfile.parse("{" + _ASSIGNED.sub(r"\1: ", inner) + "}", repr(text)).data
    axes = [[(key, item) for item in (value if isinstance(value, list) else [value])] for key, value in given.items()]
    return [(_label(name, dict(chosen)), name, dict(chosen)) for chosen in product(*axes)]


def _label(name: str, args: dict[str, Any]) -> str:
    shown = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in args.items()]
    return f"{name}({','.join(shown)})" if shown else name


def _subject(label: str, name: str, args: dict[str, Any], at: Size) -> Subject:
    resolved = registry.resolve("quantizers", name, args, {"num_codes": at.k, "dim": at.d})
    return Subject(label, resolved.name, resolved.version, dict(resolved.args), at)


def peers(wanted: str) -> dict[str, str]:
    """Return the preset of each peer of ``PACKAGE`` or ``PACKAGE/VARIANT``."""
    package, _, variant = wanted.partition("/")
    if package not in PEERS:
        raise UsageError(f"unknown peer {wanted!r}; {nearest(wanted, PEERS)}")
    module, plugin = PEERS[package]
    if importlib.util.find_spec(module) is None:
        raise UsageError(f"--against {wanted} needs the package {package}; pip install 'vqbench[peers]'")
    presets = [preset for preset, (owner, _) in registry.presets("quantizers").items() if owner == plugin]
    known = {f"{package}/{preset.removeprefix(plugin + '_')}": preset for preset in presets}
    if not variant:
        return known
    if wanted not in known:
        raise UsageError(f"unknown peer {wanted!r}; {nearest(wanted, known)}")
    return {wanted: known[wanted]}
