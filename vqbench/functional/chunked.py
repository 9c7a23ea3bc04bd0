"""Weigh all codes of every feature, for a chunk of features at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqbench.distributed.collectives import shard, to_gumbel
from vqbench.functional import codes

# Entries of the (N, K) matrices up to which a step keeps them for its backward pass: 128 MiB each, which the paper's
# batch on CIFAR10 just reaches. Larger ones are recomputed there, so that only one chunk is in memory at a time.
KEPT = 2**25

ChunkFn = Callable[..., tuple[Tensor, ...]]  # (rows (n, D), noise (n, K) or None, *shared) to rows (n, …) and scalars


def map_chunks(
    chunk_fn: ChunkFn, features: Tensor, num_codes: int, shared: Sequence[Tensor], noisy: bool, of_batch: bool = True
) -> tuple[Tensor, ...]:
    """Apply ``chunk_fn`` to ``features`` (N, D), a chunk at a time.

    Results with rows, (n, …), are concatenated, scalars are added up.

    Chunks that fit a CPU's cache take a third of the time of whole matrices. Beyond ``KEPT`` entries, the backward pass
    computes each chunk again, with the same noise.

    Args:
        chunk_fn: called with some features (n, D), their Gumbel noise (n, num_codes) or None, and ``shared``. It must
            draw no random numbers of its own.
        features: (N, D), those of this rank.
        num_codes: K.
        shared: all other tensors that need a gradient, such as the codebook.
        noisy: whether Gumbel noise is drawn; it is keyed by the features' place in the global batch.
        of_batch: False for rows that are the same on all ranks, such as codes, against each rank's ``num_codes``
            features in ``shared``. They have no noise.
    """
    if torch.compiler.is_exporting() and not noisy:  # a loop over chunks would fix the number of images
        return chunk_fn(features, None, *shared)
    if len(features) * num_codes > KEPT:
        recomputed: Callable[..., tuple[Tensor, ...]] = _Recomputed.apply
        return recomputed(chunk_fn, num_codes, noisy, of_batch, features, *shared)
    cuts = [cut for cut in _cuts(features, num_codes, of_batch) if cut.rows]
    pieces = features.split([cut.rows for cut in cuts])  # the gradient of a slice would be as large as all features
    chunks = zip(pieces, _chunks(features, num_codes, noisy, of_batch), strict=True)
    parts = [chunk_fn(piece, noise, *shared) for piece, (_, noise) in chunks]
    return tuple(torch.cat(each) if each[0].ndim else torch.stack(each).sum() for each in zip(*parts, strict=True))


def _chunks(features: Tensor, num_codes: int, noisy: bool, of_batch: bool) -> Iterator[tuple[slice, Tensor | None]]:
    """Yield the rows of each chunk of this rank's features, and its noise.

    Noise is drawn for a chunk of the global batch as a whole, so that all ranks draw alike.
    """
    done = 0
    for cut in _cuts(features, num_codes, of_batch):
        uniform = torch.rand(cut.drawn, num_codes, device=features.device) if noisy else None
        if cut.rows:
            noise = None if uniform is None else to_gumbel(uniform[cut.skipped : cut.skipped + cut.rows])
            yield slice(done, done + cut.rows), noise
            done += cut.rows


class _Cut(NamedTuple):
    """A chunk of the global batch, and the features of this rank in it."""

    drawn: int  # features, whose noise is drawn
    skipped: int  # features of ranks before this one
    rows: int  # features of this rank, perhaps none


def _cuts(features: Tensor, num_codes: int, of_batch: bool) -> list[_Cut]:
    """Cut the global batch into chunks that fit the cache of a CPU, or fill a GPU."""
    start, total = shard(len(features)) if of_batch else (0, len(features))
    size = max(1, codes.block_of(features.device) // 4 // num_codes)  # several matrices of this size are in use at once
    cuts = []
    for left in range(0, total, size):
        count = min(size, total - left)
        first, last = max(left, start), min(left + count, start + len(features))
        cuts.append(_Cut(count, first - left, max(0, last - first)))
    return cuts


class _Recomputed(torch.autograd.Function):
    """Compute :func:`map_chunks` without keeping its intermediate results.

    Backward draws the noise again and calls the function a second time.
    """

    @staticmethod
    def forward(
        ctx: Any, chunk_fn: ChunkFn, num_codes: int, noisy: bool, of_batch: bool, features: Tensor, *shared: Tensor
    ) -> Any:
        ctx.arguments, ctx.state = (chunk_fn, num_codes, noisy, of_batch), _generator_state(features.device)
        ctx.save_for_backward(features, *shared)
        results: list[Tensor] = []
        for rows, noise in _chunks(features, num_codes, noisy, of_batch):
            parts = chunk_fn(features[rows], noise, *shared)
            if not results:  # all at once: small results between the chunks would scatter the heap
                results = [part.new_zeros((len(features), *part.shape[1:]) if part.ndim else ()) for part in parts]
            for result, part in zip(results, parts, strict=True):
                (result[rows] if part.ndim else result).add_(part)
        ctx.mark_non_differentiable(*(result for result in results if not result.is_floating_point()))
        return tuple(results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        features, *shared = ctx.saved_tensors
        chunk_fn, *options = ctx.arguments
        leaves = [tensor.detach().requires_grad_() for tensor in shared]
        gradient = torch.empty_like(features)
        devices = [features.device] if features.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            _set_generator_state(ctx.state, features.device)
            for rows, noise in _chunks(features, *options):
                chunk = features[rows].detach().requires_grad_()
                pairs = [p for p in zip(chunk_fn(chunk, noise, *leaves), upstream, strict=True) if p[0].requires_grad]
                torch.autograd.backward([r for r, _ in pairs], [g[rows] if r.ndim else g for r, g in pairs])
                gradient[rows] = chunk.grad
                del chunk, pairs
        return None, None, None, None, gradient, *(leaf.grad for leaf in leaves)


def _generator_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_generator_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
