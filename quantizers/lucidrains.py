"""``VectorQuantize`` of the package vector-quantize-pytorch, unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

import vqbench.functional as Q
from vqbench.bounds import Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Width
from vqbench.quantizer import Quantizer, QuantizerOutput

NEAREST: Mapping[str, Any] = {"decay": 0.99, "commitment_weight": 0.25, "rotation_trick": False, "sync_kmeans": False}


class Lucidrains(Quantizer):
    """The package's quantizer with its own defaults, for comparisons.

    Every argument except those for masks, other layouts and custom code is passed on by its name and has the package's
    default, among them the rotation trick, a decay of 0.8 and a commitment of 1. With several ``heads`` each position
    has as many codes, each out of ``num_codes``, so the bits grow with them.

    The presets are the package's settings nearest to quantizers of this project: ``lucidrains_ema`` to vq_ema,
    ``lucidrains_learnable`` to vq, and ``lucidrains_cosine`` to cvq without relocation (its codes stay on the sphere,
    by a moving average).

    The package must be installed: ``pip install "vector-quantize-pytorch>=1.32,<2"``. Its release
    decides the trained weights, and is not part of the key of a run. It exchanges data between ranks by itself, with
    random numbers other than those of one process, so it is refused on several devices. It may wait for the device;
    and if codes are sampled or an affine map follows the batch, evaluation may differ between calls.
    """

    paper: ClassVar[str] = (
        "P. Wang, vector-quantize-pytorch, github.com/lucidrains/vector-quantize-pytorch, 2020-2026 "
        "(code; of VQ-VAE, arXiv 1711.00937, and what followed)"
    )
    distributed: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("vector_quantize_pytorch",)
    install: ClassVar[str] = '"vector-quantize-pytorch>=1.32,<2"'
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "lucidrains_ema": NEAREST,
        "lucidrains_cosine": {**NEAREST, "use_cosine_sim": True},
        "lucidrains_learnable": {**NEAREST, "learnable_codebook": True, "ema_update": False},
    }

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codebook_dim: Width | None = None,
        heads: Width = 1,
        separate_codebook_per_head: bool = False,
        decay: Fraction = 0.8,
        eps: PositiveFloat = 1e-5,
        freeze_codebook: bool = False,
        kmeans_init: bool = False,
        kmeans_iters: NonNegativeInt = 10,
        sync_kmeans: bool = True,
        use_cosine_sim: bool = False,
        layernorm_after_project_in: bool = False,
        threshold_ema_dead_code: NonNegativeFloat = 0.0,
        commitment_weight: NonNegativeFloat = 1.0,
        commitment_use_cross_entropy_loss: bool = False,
        orthogonal_reg_weight: NonNegativeFloat = 0.0,
        orthogonal_reg_active_codes_only: bool = False,
        orthogonal_reg_max_codes: PositiveInt | None = None,
        codebook_diversity_loss_weight: NonNegativeFloat = 0.0,
        codebook_diversity_temperature: PositiveFloat = 100.0,
        stochastic_sample_codes: bool = False,
        sample_codebook_temp: NonNegativeFloat = 1.0,
        straight_through: bool = False,
        rotation_trick: bool | None = None,
        directional_reparam: bool = False,
        directional_reparam_variance: NonNegativeFloat = 5e-3,
        sync_codebook: bool | None = None,
        sync_affine_param: bool = False,
        ema_update: bool | None = None,
        learnable_codebook: bool | None = None,
        affine_param: bool = False,
        affine_param_batch_decay: Decay = 0.99,
        affine_param_codebook_decay: Decay = 0.9,
        sync_update_v: NonNegativeFloat = 0.0,
        route_gradients_to_input: bool = True,
    ) -> None:
        options = {name: value for name, value in locals().items() if name not in ("self", "num_codes", "__class__")}
        super().__init__(num_codes, dim, depth=heads)
        try:
            from vector_quantize_pytorch import VectorQuantize
        except ImportError:
            Q.require(
                False,
                "the quantizer 'lucidrains' needs the package vector-quantize-pytorch; "
                'install it by: pip install "vector-quantize-pytorch>=1.32,<2"',
            )
        self.inner = VectorQuantize(codebook_size=num_codes, accept_image_fmap=True, **options)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W) by the package's forward.

        Its loss is taken as it is: 0 in evaluation.
        """
        Q.flatten(z, self.dim)  # raises for another shape
        z_q, codes, loss = self.inner(z)
        codes = codes.view(len(z), *z.shape[2:], self.depth)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(z_q.contiguous(), codes, loss.reshape(()), logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, heads).

        The package's own lookup fails for shared heads.
        """
        Q.require_codes(codes, self.depth)
        books = self.inner.codebook.expand(self.depth, -1, -1)  # (heads, K, codebook_dim)
        rows = [F.embedding(chosen, book) for chosen, book in zip(codes.unbind(-1), books, strict=True)]
        vectors: Tensor = self.inner.project_out(torch.cat(rows, -1))
        return vectors.permute(0, 3, 1, 2).contiguous()
