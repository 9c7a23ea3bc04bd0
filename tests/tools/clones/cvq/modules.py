"""The small autoencoder with the interface of the authors' module, written for tests of tools/parity.py."""

import torch.nn.functional as F
from quantise import VectorQuantiser
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.squeeze, self.expand = nn.Conv2d(channels, hidden, 3, padding=1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x):
        x = F.relu(x)
        return x + self.expand(F.relu(self.squeeze(x)))


class Model(nn.Module):
    def __init__(self, channels, hidden, blocks, residual, num_embed, dim, beta, distance, anchor, first, contrastive):
        super().__init__()
        self._encoder = nn.Sequential(
            *(nn.Conv2d(channels, hidden // 2, 4, 2, 1), nn.ReLU(), nn.Conv2d(hidden // 2, hidden, 4, 2, 1), nn.ReLU()),
            *(nn.Conv2d(hidden, hidden, 3, padding=1), *(Block(hidden, residual) for _ in range(blocks)), nn.ReLU()),
        )
        self._pre_vq_conv = nn.Conv2d(hidden, dim, 1)
        self._vq_vae = VectorQuantiser(num_embed, dim, beta, distance, anchor, first, contrastive)
        self._decoder = nn.Sequential(
            *(nn.Conv2d(dim, hidden, 3, padding=1), *(Block(hidden, residual) for _ in range(blocks)), nn.ReLU()),
            *(nn.ConvTranspose2d(hidden, hidden // 2, 4, 2, 1), nn.ReLU()),
            nn.ConvTranspose2d(hidden // 2, channels, 4, 2, 1),
        )

    def forward(self, x):
        z_q, loss, (perplexity, encodings, _) = self._vq_vae(self._pre_vq_conv(self._encoder(x)))
        return self._decoder(z_q), loss, perplexity, encodings
