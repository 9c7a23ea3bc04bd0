"""How far from a printed value ours may be and still count as the same, by metric.

The paper prints one run a cell and no spread, so nothing says how far a faithful second run may land. The tolerances
are therefore a convention of this project. They scale with the printed value, because 0.0005 is little for an l1 of
CIFAR10 and much for one of MNIST, and each is chosen so that three tolerances are smaller than the distance between
VQ-VAE and CVQ-VAE in table B.1, on either data set, or, of usage, that between VQGAN and CVQ-VAE in table B.2: no
result can be CLOSE to both ends of the paper's claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Tolerance:
    """How far from the printed value still counts as the same: ``size``, of the ``scale``."""

    size: float
    scale: Literal["absolute", "printed", "one minus printed"]
    shown: str  # for a legend
    reason: str

    def around(self, printed: float) -> float:
        """In the metric's own unit."""
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
