"""The small convolutional autoencoder of the small-data tables."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from vqbench.backbone import Backbone
from vqbench.bounds import Blocks, Halved, Width


class RectifiedResidualBlock(nn.Module):
    """relu(x) + F(relu(x)): the skip carries the rectified tensor.

    In the released code the block's first ReLU works in place and so overwrites what the skip adds; a textbook
    block, x + F(relu(x)), is another network.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 3, padding=1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        y: Tensor = x + self.expand(F.relu(self.squeeze(x)))
        return y


class Conv(Backbone):
    """Two stride-2 convolutions and two residual blocks in each direction.

    28 pixels become 7x7 positions, 32 become 8x8. 658,625 parameters for one channel and 662,723 for three at the
    default width and ``dim`` 64. It has no normalisation and no output activation. Source: the released code of CVQ-VAE
    (modules.py), after the Sonnet VQ-VAE example, from which it differs: no ReLU after the third convolution, and
    :class:`RectifiedResidualBlock`.
    """

    paper = (
        "van den Oord, Vinyals, Kavukcuoglu: Neural Discrete Representation Learning. NeurIPS 2017, arXiv 1711.00937"
    )
    VERSION = 1
    check_args: ClassVar = {"hidden": 16, "residual_hidden": 8}
    factor = 4

    def __init__(
        self, channels: int, dim: int, *, hidden: Halved = 128, residual_hidden: Width = 32, blocks: Blocks = 2
    ) -> None:
        super().__init__()
        half = hidden // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, half, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *(RectifiedResidualBlock(hidden, residual_hidden) for _ in range(blocks)),
            nn.ReLU(),
            nn.Conv2d(hidden, dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, hidden, 3, padding=1),
            *(RectifiedResidualBlock(hidden, residual_hidden) for _ in range(blocks)),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, half, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1),
        )

    def encode(self, x: Tensor) -> Tensor:
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.decoder(z_q)
        return x
