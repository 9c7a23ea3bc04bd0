"""Kinds of plugins, their contracts, and errors of broken plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vqbench.errors import UsageError

Kind = Literal["quantizers", "metrics", "datasets", "backbones", "recipes"]

# The contract that a plugin of a kind fulfils: module and class, imported only when a plugin is.
CONTRACTS: Mapping[Kind, tuple[str, str]] = {
    "quantizers": ("vqbench.quantizer", "Quantizer"),
    "metrics": ("vqbench.metric", "Metric"),
    "datasets": ("vqbench.dataset", "Dataset"),
    "backbones": ("vqbench.backbone", "Backbone"),
    "recipes": ("vqbench.recipe", "Recipe"),
}


class BrokenPlugin(UsageError):
    """A plugin that exists but cannot be used.

    Suites that do not name it are not affected.
    """


class ChangedPlugin(UsageError):
    """A plugin's file that was edited since the run was planned.

    Runs without the plugin are not affected.
    """
