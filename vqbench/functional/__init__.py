"""The mathematics that quantizers share: assignment, statistics, anchors, the contrastive term, random draws.

Everything works on rows: a feature map (B, D, H, W) is N = B·H·W features (N, D), a codebook is (K, D). Nothing is
sorted, nothing waits for the device, so that a step can be compiled, and only ``squared_distances`` and ``gumbel``
hold an (N, K) matrix as a whole; ``by_blocks`` calls them for some features at a time.

With several devices, every rank holds a consecutive part of the global batch, of some images (``ranks.Images``).
Counts and sums are added up over the ranks, random draws are the same everywhere or keyed by the feature's place in the
global batch, and anchors are drawn from the global batch, so that codebooks stay equal on all ranks.
"""

from vqbench.distributed.collectives import (
    all_gather,
    all_mean,
    all_sum,
    feature_uniform,
    gather_rows,
    gumbel,
    shard,
    shared_integers,
    shared_normal,
    shared_permutation,
    shared_uniform,
    to_gumbel,
    world_size,
)
from vqbench.functional.anchor_sampling import (
    CANDIDATES,
    GROUP,
    Anchor,
    anchors,
    closest,
    draw_by_inversion,
    draw_by_rejection,
    group_masses,
    invert,
    own,
    similarity_at,
    take,
)
from vqbench.functional.budget import nearest_root, scalar_levels
from vqbench.functional.chunked import KEPT, by_blocks
from vqbench.functional.codes import (
    BLOCK,
    Distance,
    Init,
    assign,
    code_counts,
    code_sums,
    initial_codebook,
    inner_product_form,
    lloyd,
    pack_bits,
    signs,
    squared_distances,
    unpack_bits,
)
from vqbench.functional.contrastive import contrast, contrastive_loss
from vqbench.functional.estimators import rotate, straight_through, vq_loss
from vqbench.functional.extremes import select_
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
from vqbench.functional.statistics import (
    bit_entropy,
    entropy,
    mean_and_total_entropy,
    mean_bit_posterior,
    perplexity,
    shares,
    usage_logs,
)

__all__ = [
    "BLOCK",
    "CANDIDATES",
    "GROUP",
    "KEPT",
    "Anchor",
    "Distance",
    "Init",
    "all_gather",
    "all_mean",
    "all_sum",
    "anchors",
    "assign",
    "bit_entropy",
    "by_blocks",
    "closest",
    "code_counts",
    "code_map",
    "code_sums",
    "contrast",
    "contrastive_loss",
    "draw_by_inversion",
    "draw_by_rejection",
    "entropy",
    "feature_uniform",
    "flatten",
    "float32_products",
    "full_precision",
    "gather_rows",
    "group_masses",
    "gumbel",
    "initial_codebook",
    "inner_product_form",
    "invert",
    "lloyd",
    "look_up",
    "mean_and_total_entropy",
    "mean_bit_posterior",
    "nearest_root",
    "own",
    "pack_bits",
    "perplexity",
    "require",
    "require_choice",
    "require_codes",
    "rotate",
    "scalar_levels",
    "select_",
    "shard",
    "shared_integers",
    "shared_normal",
    "shared_permutation",
    "shared_uniform",
    "shares",
    "signs",
    "similarity_at",
    "squared_distances",
    "straight_through",
    "take",
    "to_gumbel",
    "unflatten",
    "unpack_bits",
    "usage_logs",
    "vq_loss",
    "world_size",
]
