"""The mathematics that quantizers share, from assignment to random draws.

Plugins may use everything exported here (``import vqbench.functional as Q``); the rest is private. Functions work
on rows: a feature map (B, D, H, W) is N = B·H·W features (N, D), a codebook is (K, D). Nothing waits for the device,
so that a step can be compiled. Only ``squared_distances`` and ``gumbel`` return a whole (N, K) matrix;
``map_chunks`` calls them for a chunk of features at a time.

With several devices, every rank has a consecutive part of the global batch. Counts and sums are added up over the
ranks, random draws are the same on all ranks or keyed by the feature's place in the global batch, and anchors are drawn
from the global batch, so that codebooks stay equal on all ranks.

Each name is imported when it is first used, so that a quantizer imports only what its method needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqbench.distributed.collectives import (
        all_gather,
        all_mean,
        all_sum,
        feature_normal,
        feature_uniform,
        gather_rows,
        gumbel,
        shard,
        shared_integers,
        shared_normal,
        shared_permutation,
        shared_uniform,
        world_size,
    )
    from vqbench.functional.anchor_sampling import Anchor, anchors
    from vqbench.functional.budget import nearest_root, odd_levels, parse_levels, scalar_levels
    from vqbench.functional.chunked import map_chunks
    from vqbench.functional.codes import (
        Distance,
        Init,
        assign,
        bit_entropy,
        code_counts,
        code_sums,
        entropy,
        initial_codebook,
        inner_product_form,
        lloyd,
        mean_bit_posterior,
        pack_bits,
        perplexity,
        rotate,
        shares,
        signs,
        straight_through,
        unpack_bits,
        usage_logs,
        vq_loss,
    )
    from vqbench.functional.contrastive import contrastive_loss
    from vqbench.functional.precision import float32_products
    from vqbench.functional.shapes import (
        code_map,
        flatten,
        full_precision,
        look_up,
        require,
        require_choice,
        require_codes,
        unflatten,
    )
    from vqbench.functional.soft_codes import (
        mean_and_total_entropy,
        posterior_sums,
        relaxed_sample,
        squared_distances,
        total_entropy,
    )

__all__ = [
    "Anchor",
    "Distance",
    "Init",
    "all_gather",
    "all_mean",
    "all_sum",
    "anchors",
    "assign",
    "bit_entropy",
    "code_counts",
    "code_map",
    "code_sums",
    "contrastive_loss",
    "entropy",
    "feature_normal",
    "feature_uniform",
    "flatten",
    "float32_products",
    "full_precision",
    "gather_rows",
    "gumbel",
    "initial_codebook",
    "inner_product_form",
    "lloyd",
    "look_up",
    "map_chunks",
    "mean_and_total_entropy",
    "mean_bit_posterior",
    "nearest_root",
    "odd_levels",
    "pack_bits",
    "parse_levels",
    "perplexity",
    "posterior_sums",
    "relaxed_sample",
    "require",
    "require_choice",
    "require_codes",
    "rotate",
    "scalar_levels",
    "shard",
    "shared_integers",
    "shared_normal",
    "shared_permutation",
    "shared_uniform",
    "shares",
    "signs",
    "squared_distances",
    "straight_through",
    "total_entropy",
    "unflatten",
    "unpack_bits",
    "usage_logs",
    "vq_loss",
    "world_size",
]

_MODULES = {
    "vqbench.distributed.collectives": (
        "all_gather all_mean all_sum feature_normal feature_uniform gather_rows gumbel shard shared_integers "
        "shared_normal shared_permutation shared_uniform world_size"
    ),
    "vqbench.functional.anchor_sampling": "Anchor anchors",
    "vqbench.functional.budget": "nearest_root odd_levels parse_levels scalar_levels",
    "vqbench.functional.chunked": "map_chunks",
    "vqbench.functional.soft_codes": (
        "mean_and_total_entropy posterior_sums relaxed_sample squared_distances total_entropy"
    ),
    "vqbench.functional.codes": (
        "Distance Init assign bit_entropy code_counts code_sums entropy initial_codebook inner_product_form lloyd "
        "mean_bit_posterior pack_bits perplexity rotate shares signs "
        "straight_through unpack_bits usage_logs vq_loss"
    ),
    "vqbench.functional.contrastive": "contrastive_loss",
    "vqbench.functional.precision": "float32_products",
    "vqbench.functional.shapes": (
        "code_map flatten full_precision look_up require require_choice require_codes unflatten"
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

if not TYPE_CHECKING:  # type checkers and editors read the imports above, and know a wrong name

    def __getattr__(name: str) -> object:
        """Import a name from the module that defines it."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
