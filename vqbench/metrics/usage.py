"""Share of used codes."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.metric import Batch, Metric


class Usage(Metric):
    """Share of codes that are used at least once in the test split, in percent.

    100 · |{k : n_k > 0}| / K, with the counts n of the K codes over the split, not over batches, whose size it would
    depend on. In [0, 100]; higher is better. With several codes per position it is the mean over depths of each depth's
    own share, whether or not the depths share one codebook.
    """

    label = "Usage"
    unit = "%"
    better = "max"
    digits = 1
    in_paper = True
    reference = "codes with at least one assignment over the split, divided by the size of the codebook"
    needs_codes = True
    knobs = ()  # depends on the codes alone

    def reset(self) -> None:
        codes, depth = self.context.num_codes, self.context.depth
        self.state = {} if codes is None else {"counts": torch.zeros(depth, codes, dtype=torch.float64)}  # (depth, K)

    def update(self, batch: Batch) -> None:
        if self.context.num_codes is None or batch.codes is None:
            return
        counts = [_histogram(codes, self.context.num_codes) for codes in batch.codes.cpu().flatten(0, 2).T]
        self.state["counts"] += torch.stack(counts)

    def compute(self) -> float | None:
        counts = self.counts()
        return None if counts is None else 100 * float((counts > 0).double().mean())

    def counts(self) -> Tensor | None:
        """Return how often each code occurred, (depth, K), or None without a codebook.

        Raises RunError before any update.
        """
        if self.context.num_codes is None:
            return None
        if not self.state["counts"].any():
            raise RunError(f"{self.label} needs the codes of at least one image, and was given none")
        return self.state["counts"]


def _histogram(codes: Tensor, num_codes: int) -> Tensor:
    """Count how often each code occurs in ``codes`` (N,): (K,) float64."""
    if codes.min() < 0 or codes.max() >= num_codes:
        raise RunError(f"codes run from {codes.min()} to {codes.max()}, but the codebook has {num_codes} codes")
    return torch.bincount(codes, minlength=num_codes).double()
