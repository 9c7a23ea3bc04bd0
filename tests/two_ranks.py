"""One of two ranks: trains some quantizers on its half of a batch and writes what came of it."""

from __future__ import annotations

import sys
from itertools import product
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import vqbench.functional as Q
from vqbench.quantizer import Quantizer
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.hvq import HVQ
from vqbench.quantizers.sqvae import SQVAE
from vqbench.quantizers.vq_ema import VQEMA

ANCHORS: Any = ("random", "unique", "probability", "closest")
DISTANCES: Any = ("l2", "cosine")


def quantizers() -> dict[str, Quantizer]:
    """The quantizers that must not notice how many ranks there are. CVQ's contrastive term is each rank's own."""
    torch.manual_seed(0)
    built: dict[str, Quantizer] = {"vq_ema": VQEMA(24, 6), "hvq": HVQ(24, 6, reset_every=2), "sqvae": SQVAE(24, 6)}
    for distance, anchor in product(DISTANCES, ANCHORS):
        built[f"{distance} {anchor}"] = CVQ(24, 6, distance=distance, anchor=anchor, contrastive=False)
    return built


def train(rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """State, gradient and objective after three steps on this rank's part of each batch, by quantizer and name."""
    results = {}
    for name, quantizer in quantizers().items():
        for step in range(3):
            batch = torch.randn(36, 6, 4, 4, generator=torch.Generator().manual_seed(step)) + 0.5
            z = batch.chunk(world)[rank].requires_grad_()  # 18 images of 16: groups of 256 lie across the ranks
            torch.manual_seed(step)
            quantizer.zero_grad()
            out = quantizer(z)
            objective = quantizer.objective((out.z_q - z.detach()).square().mean(), out, pixels=64)
            objective.backward()
            mean = Q.all_sum(objective.detach()) / world
            for key, parameter in quantizer.named_parameters():
                assert parameter.grad is not None
                gradient = Q.all_sum(parameter.grad) / world  # as a data-parallel wrapper does
                results[f"{name}: gradient of {key} at {step}"] = gradient
            results[f"{name}: objective at {step}"] = mean
        results |= {f"{name}: {key}": value for key, value in quantizer.state_dict().items()}
    return results


if __name__ == "__main__":
    rank, meeting_point, output = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    torch.save(train(rank, world=2), f"{output}.{rank}")
    dist.destroy_process_group()
