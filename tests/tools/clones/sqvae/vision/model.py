"""A small SQ-VAE with the interface of the authors' module, written for tests of tools/parity.py."""

import torch
from quantizer import GaussianVectorQuantizer
from torch import nn


class GaussianSQVAE(nn.Module):
    def __init__(self, cfgs, flgs):
        super().__init__()
        dim = cfgs.quantization.dim_dict
        self.encoder = nn.Sequential(nn.Conv2d(1, dim, 4, 4), nn.BatchNorm2d(dim), nn.Conv2d(dim, dim, 1))
        self.decoder = nn.Sequential(nn.ConvTranspose2d(dim, 1, 4, 4), nn.Sigmoid())
        self.pixels = cfgs.dataset.dim_x
        self.codebook = nn.Parameter(torch.randn(cfgs.quantization.size_dict, dim))
        self.log_param_q_scalar = nn.Parameter(torch.tensor(cfgs.model.log_param_q_init))
        self.quantizer = GaussianVectorQuantizer(cfgs.quantization.size_dict)

    def forward(self, x, flg_train=False, flg_quant_det=True):
        z = self.encoder(x)
        variance = torch.tensor([0.0], device="cuda").exp() + self.log_param_q_scalar.exp()
        z_q, latent = self.quantizer(z, variance, self.codebook, flg_train, flg_quant_det)
        reconstruction = self.decoder(z_q)
        error = (reconstruction - x).square().sum() / len(x)
        return reconstruction, {"z_to_decoder": z_q}, {"all": self.pixels * torch.log(error) / 2 + latent}
