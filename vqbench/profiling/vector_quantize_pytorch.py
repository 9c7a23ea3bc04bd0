"""Peers: the module of the package vector-quantize-pytorch, as a quantizer. Offered only where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from vqbench.quantizer import Quantizer, QuantizerOutput


class VectorQuantizePytorch(Quantizer):
    """``VectorQuantize`` of version 1.32, every argument said, so that another version's defaults change nothing.

    ``ema`` is nearest to ``vq_ema``, ``cosine`` to ``cvq`` without relocation (both normalise for the assignment; this
    one keeps its codes on the sphere by a moving average), ``learnable`` to ``vq``.
    """

    paper: ClassVar[str] = "P. Wang, vector-quantize-pytorch (a package; no paper)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "vector-quantize-pytorch/ema": {"use_cosine_sim": False, "learnable_codebook": False},
        "vector-quantize-pytorch/cosine": {"use_cosine_sim": True, "learnable_codebook": False},
        "vector-quantize-pytorch/learnable": {"use_cosine_sim": False, "learnable_codebook": True},
    }

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        use_cosine_sim: bool = False,
        learnable_codebook: bool = False,
        decay: float = 0.99,
        commitment_weight: float = 0.25,
    ) -> None:
        super().__init__(num_codes, dim)
        self.module = VectorQuantize(
            dim=dim,
            codebook_size=num_codes,
            codebook_dim=dim,  # no projection
            heads=1,
            separate_codebook_per_head=False,
            decay=decay,
            eps=1e-5,
            freeze_codebook=False,
            kmeans_init=False,
            kmeans_iters=10,
            sync_kmeans=False,
            use_cosine_sim=use_cosine_sim,
            layernorm_after_project_in=False,
            threshold_ema_dead_code=0,  # no relocation of unused codes
            channel_last=False,
            accept_image_fmap=True,
            accept_3d_fmap=False,
            commitment_weight=commitment_weight,
            commitment_use_cross_entropy_loss=False,
            orthogonal_reg_weight=0.0,
            orthogonal_reg_active_codes_only=False,
            orthogonal_reg_max_codes=None,
            codebook_diversity_loss_weight=0.0,
            codebook_diversity_temperature=100.0,
            stochastic_sample_codes=False,
            sample_codebook_temp=1.0,
            straight_through=False,  # of a Gumbel sample; the plain straight-through gradient is what is left
            rotation_trick=False,
            directional_reparam=False,
            directional_reparam_variance=5e-3,
            sync_codebook=False,
            sync_affine_param=False,
            ema_update=not learnable_codebook,
            vq_bridge=None,
            manual_ema_update=False,
            learnable_codebook=learnable_codebook,
            in_place_codebook_optimizer=None,
            manual_in_place_optimizer_update=False,
            affine_param=False,
            affine_param_batch_decay=0.99,
            affine_param_codebook_decay=0.9,
            sync_update_v=0.0,
            return_zeros_for_masked_padding=True,
            route_gradients_to_input=True,
        )

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W)."""
        z_q, codes, loss = self.module(z)
        return QuantizerOutput(z_q, codes[..., None], loss)

    def decode(self, codes: Tensor) -> Tensor:
        """The code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return self.module.get_output_from_indices(codes[..., 0])
