"""One of two ranks: trains quantizers that it is handed on its half of a batch and writes what came of it."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

if __name__ == "__main__":
    import two_ranks  # its neighbour, as a script

    rank, meeting_point, output, quantizers = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    two_ranks.quantizers = lambda: torch.load(quantizers, weights_only=False)
    torch.save(two_ranks.train(rank, world=2), f"{output}.{rank}")
    dist.destroy_process_group()
