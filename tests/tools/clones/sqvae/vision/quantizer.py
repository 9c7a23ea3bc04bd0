"""A plain SQ-VAE quantizer with the interface of the authors' module, written for tests of tools/parity.py."""

import torch
from torch import nn


class GaussianVectorQuantizer(nn.Module):
    """Gaussian type I: one variance for all features."""

    def __init__(self, size_dict):
        super().__init__()
        self.size_dict, self.temperature = size_dict, 1.0

    def set_temperature(self, value):
        self.temperature = value

    def forward(self, z, variance, codebook, train, hard):
        assert train or hard
        rows = z.permute(0, 2, 3, 1)
        weight = 0.5 / variance
        logits = -weight * (rows.reshape(-1, 1, rows.shape[3]) - codebook[None]).square().sum(2)
        if train:
            uniform = torch.rand(logits.shape, device="cuda")
            noise = -torch.log(-torch.log(uniform + 1e-10) + 1e-10)
            weights = ((logits + noise) / self.temperature).softmax(1)
        else:
            weights = torch.zeros(logits.shape, device="cuda").scatter_(1, logits.argmax(1, keepdim=True), 1)
        z_q = (weights @ codebook).view(rows.shape).permute(0, 3, 1, 2)
        discrete = (logits.softmax(1) * logits.log_softmax(1)).sum() / len(z)
        return z_q, discrete + (weight * (z - z_q).square()).sum() / len(z)
