"""The PatchGAN discriminator."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from vqbench.distributed.gradients import BatchNorm


class Patch(nn.Module):
    """Judges each patch of images (B, C, S, S) in [-1, 1] by itself: logits (B, 1, s, s).

    ``layers`` 4x4 convolutions of stride 2, one of stride 1, and one to the logit; the width doubles after each, up to
    eight times. All between the first and the last are followed by batch norm, whose statistics are those of the images
    of one call, over all ranks: real images and reconstructions separately. 2,765,633 parameters at the default width
    and depth for three channels.

    Source: P. Isola, J.-Y. Zhu, T. Zhou, A. A. Efros, Image-to-Image Translation with Conditional Adversarial Networks,
    CVPR 2017, arXiv 1611.07004; the initialization of weights, N(0, 0.02), from its released code, as in VQGAN.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(layers + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level, (in_channels, out_channels) in enumerate(pairwise(widths)):
            stride = 2 if level < layers - 1 else 1
            blocks += [nn.Conv2d(in_channels, out_channels, 4, stride, 1, bias=False), BatchNorm(out_channels)]
            blocks.append(nn.LeakyReLU(0.2))
        self.net = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)
            elif isinstance(module, BatchNorm):
                nn.init.normal_(module.weight, 1, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits
