"""Quantizers, one method a file. Installed as ``vqbench.quantizers``.

The classes are imported from here or from their files; none is loaded before it is used.

>>> from vqbench.quantizers import CVQ, VQEMA
>>> CVQ(512, 64).num_codes, VQEMA(512, 64).decay
(512, 0.99)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqbench.quantizers.arcvq import ArcVQ as ArcVQ
    from vqbench.quantizers.bsq import BSQ as BSQ
    from vqbench.quantizers.cvq import CVQ as CVQ
    from vqbench.quantizers.cvq_grouped import CVQGrouped as CVQGrouped
    from vqbench.quantizers.distortion_bound import DistortionBound as DistortionBound
    from vqbench.quantizers.diveq import DiVeQ as DiVeQ
    from vqbench.quantizers.entropy_vq import EntropyVQ as EntropyVQ
    from vqbench.quantizers.fsp import FSP as FSP
    from vqbench.quantizers.fsq import FSQ as FSQ
    from vqbench.quantizers.grouped import Grouped as Grouped
    from vqbench.quantizers.gumbel import Gumbel as Gumbel
    from vqbench.quantizers.hvq import HVQ as HVQ
    from vqbench.quantizers.ibq import IBQ as IBQ
    from vqbench.quantizers.identity import Identity as Identity
    from vqbench.quantizers.kmeans import KMeans as KMeans
    from vqbench.quantizers.l2norm_vq import L2NormVQ as L2NormVQ
    from vqbench.quantizers.lfq import LFQ as LFQ
    from vqbench.quantizers.looc import LooC as LooC
    from vqbench.quantizers.lucidrains import Lucidrains as Lucidrains
    from vqbench.quantizers.multiscale import MultiScale as MultiScale
    from vqbench.quantizers.nsvq import NSVQ as NSVQ
    from vqbench.quantizers.offline_kmeans import OfflineKMeans as OfflineKMeans
    from vqbench.quantizers.optvq import OptVQ as OptVQ
    from vqbench.quantizers.residual import Residual as Residual
    from vqbench.quantizers.rotation import Rotation as Rotation
    from vqbench.quantizers.sf_diveq import SFDiVeQ as SFDiVeQ
    from vqbench.quantizers.simvq import SimVQ as SimVQ
    from vqbench.quantizers.spherical import Spherical as Spherical
    from vqbench.quantizers.sqvae import SQVAE as SQVAE
    from vqbench.quantizers.vq import VQ as VQ
    from vqbench.quantizers.vq_bridge import VQBridge as VQBridge
    from vqbench.quantizers.vq_ema import VQEMA as VQEMA
    from vqbench.quantizers.vq_ema_restart import VQEMARestart as VQEMARestart
    from vqbench.quantizers.vq_ste_plus import VQSTEPlus as VQSTEPlus
    from vqbench.quantizers.wasserstein_vq import WassersteinVQ as WassersteinVQ

_FILES = {  # class -> its file, which needs torch
    "ArcVQ": "arcvq",
    "BSQ": "bsq",
    "CVQ": "cvq",
    "CVQGrouped": "cvq_grouped",
    "DiVeQ": "diveq",
    "DistortionBound": "distortion_bound",
    "EntropyVQ": "entropy_vq",
    "FSP": "fsp",
    "FSQ": "fsq",
    "Grouped": "grouped",
    "Gumbel": "gumbel",
    "HVQ": "hvq",
    "IBQ": "ibq",
    "Identity": "identity",
    "KMeans": "kmeans",
    "L2NormVQ": "l2norm_vq",
    "LFQ": "lfq",
    "LooC": "looc",
    "Lucidrains": "lucidrains",
    "MultiScale": "multiscale",
    "NSVQ": "nsvq",
    "OfflineKMeans": "offline_kmeans",
    "OptVQ": "optvq",
    "Residual": "residual",
    "Rotation": "rotation",
    "SFDiVeQ": "sf_diveq",
    "SimVQ": "simvq",
    "Spherical": "spherical",
    "SQVAE": "sqvae",
    "VQ": "vq",
    "VQBridge": "vq_bridge",
    "VQEMA": "vq_ema",
    "VQEMARestart": "vq_ema_restart",
    "VQSTEPlus": "vq_ste_plus",
    "WassersteinVQ": "wasserstein_vq",
}
__all__ = [*_FILES]  # names, read by ``import *``; type checkers read the imports above

if not TYPE_CHECKING:  # type checkers know a wrong name

    def __getattr__(name: str) -> Any:
        """Import the file of a class on first use."""
        if name not in _FILES:
            raise AttributeError(f"module 'vqbench.quantizers' has no attribute {name!r}")
        return getattr(import_module(f"vqbench.quantizers.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})
