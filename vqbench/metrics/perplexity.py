"""Perplexity of the codes."""

from __future__ import annotations

from vqbench.metrics.usage import Usage


class Perplexity(Usage):
    """exp of the entropy of the codes' frequencies over the whole test split, in 1 ... K: codes in use, by weight.

    exp(-sum p ln(p + 1e-10)), as the literature's code has it. With several codes a position, the mean over depths of
    each depth's own perplexity. It takes the same counts as the usage.
    """

    label = "Perplexity"
    unit = ""
    better = "max"
    digits = 1
    by_codebook = True
    reference = "van den Oord et al., Neural Discrete Representation Learning, NeurIPS 2017, released code"

    def compute(self) -> float | None:
        counts = self.counts()
        if counts is None:
            return None
        p = counts / counts.sum(1, keepdim=True)  # (depth, K)
        entropy = -(p * (p + 1e-10).log()).sum(1)  # (depth,)
        return float(entropy.exp().mean())
