"""Tolerances by metric: how far ours may be from a printed value.

The paper prints one run per cell and no spread, so that the variation of a faithful second run is unknown. The
tolerances are therefore a convention of this project. They scale with the printed value, because 0.0005 is little for
an l1 of CIFAR10 and much for one of MNIST, and each is chosen so that three tolerances are smaller than the distance
between VQ-VAE and CVQ-VAE in table B.1, on either data set, or, of usage, that between VQGAN and CVQ-VAE in table B.2:
no result can be CLOSE to both ends of the paper's claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Tolerance:
    """How far from the printed value counts as equal: ``size`` times the ``scale``."""

    size: float
    scale: Literal["absolute", "printed", "one minus printed"]
    shown: str  # in a legend
    reason: str

    def around(self, printed: float) -> float:
        """Return the tolerance around ``printed``, in the unit of the metric."""
        scales = {"absolute": 1.0, "printed": abs(printed), "one minus printed": abs(1 - printed)}
        return self.size * scales[self.scale]


TOLERANCES: Mapping[str, Tolerance] = {
    "l1": Tolerance(
        0.025, "printed", "2.5 %", "0.0005 at 0.0207; VQ-VAE to CVQ-VAE is 13 % on MNIST and 15 % on CIFAR10"
    ),
    "ssim": Tolerance(
        0.05, "one minus printed", "5 % of 1 − SSIM", "what is lost, not what is kept; VQ-VAE to CVQ-VAE is 25 and 27 %"
    ),
    "psnr": Tolerance(
        0.2, "absolute", "0.2 dB", "a ratio already, and what 2.5 % of l1 amount to; VQ-VAE to CVQ-VAE is 1.4 dB"
    ),
    "lpips": Tolerance(0.05, "printed", "5 %", "VQ-VAE to CVQ-VAE is 21 % on MNIST and 25 % on CIFAR10"),
    "usage": Tolerance(
        3, "absolute", "3 points", "of a hundred; VQGAN to CVQ-VAE is 58 on FFHQ and 56 on ImageNet, in table B.2"
    ),
    "rfid": Tolerance(
        0.1, "printed", "10 %", "moves most between seeds and between resizers; VQ-VAE to CVQ-VAE is 48 and 38 %"
    ),
}
