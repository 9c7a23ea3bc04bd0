"""Data sets and weights of networks, identified by digests of their content.

Each asset is looked for in the user's folder (``VQBENCH_DATA``), in our cache (``VQBENCH_CACHE``), at its official
address and in packages of the registries that this machine can reach. Every file is checked and kept in one canonical
form; what is fetched is opened as data, never imported or executed. Importing this does not import torch, and names
are imported when they are first used: an asset in the cache needs neither the readers nor the sources.

>>> from vqbench.assets import CATALOGUE
>>> sorted(CATALOGUE)
['alexnet_lpips', 'cifar10', 'dists', 'efficientnet_lite0', 'fashion_mnist', 'inception_fid', 'mnist', 'vgg16_lpips']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqbench.assets.cache import cache_folder
    from vqbench.assets.catalogue import CATALOGUE, Asset
    from vqbench.assets.download import Progress
    from vqbench.assets.fetching import fetch, no_downloads, raw, state, states, tensors

__all__ = [
    "CATALOGUE",
    "Asset",
    "Progress",
    "cache_folder",
    "fetch",
    "no_downloads",
    "raw",
    "state",
    "states",
    "tensors",
]

_HOMES = {"CATALOGUE": "catalogue", "Asset": "catalogue", "Progress": "download", "cache_folder": "cache"}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'fetching')}"), name)
