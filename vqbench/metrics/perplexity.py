"""Perplexity of the codes' frequencies."""

from __future__ import annotations

from vqbench.metrics.usage import Usage


class Perplexity(Usage):
    """Exponential of the entropy of the codes' frequencies in the test split.

    exp(-sum_k p_k ln(p_k + 1e-10)), as in the released code of van den Oord et al., from the counts of the usage: the
    number of equally frequent codes of the same entropy. In [1, K]; higher is better. With several codes per position
    it is the mean over depths of each depth's own perplexity.
    """

    label = "Perplexity"
    in_paper = False
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
