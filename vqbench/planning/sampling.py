"""How pictures are sampled from a generator, and what they are held against: a part of every sampled number's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reference = Literal["train", "test"]


@dataclass(frozen=True)
class Sampling:
    """``count`` pictures, by ``steps`` steps of DDIM with noise ``eta``, against the split ``reference``.

    200 steps with eta 1 are what the released latent diffusion was sampled with on LSUN bedrooms. At eta 0 the first
    noise alone decides a picture; at 1 every step adds as much as the Markov chain of DDPM would, which costs nothing
    and, at 200 steps, gave its authors the better FID. The reference is the training split, as in most published FIDs.
    """

    count: int = 50_000
    steps: int = 200
    eta: float = 1.0
    reference: Reference = "train"

    @property
    def name(self) -> str:
        """All settings."""
        return f"n={self.count},reference={self.reference},steps={self.steps},eta={self.eta:g}"

    def under(self, protocol: str) -> str:
        """The name that values of such samples are stored under, measured as ``protocol`` says."""
        return f"{protocol}:{self.name}"

    def __str__(self) -> str:
        split = {"train": "training", "test": "test"}[self.reference]
        return f"{self.count:,} samples by DDIM ({self.steps} steps, eta {self.eta:g}) against the {split} split"


def sampling_of(name: str) -> Sampling:
    """The inverse of :meth:`Sampling.under`. ValueError for any other name."""
    given = dict(setting.split("=", 1) for setting in name.partition(":")[2].split(",") if "=" in setting)
    if given.keys() != {"n", "reference", "steps", "eta"}:
        raise ValueError(f"{name!r} does not name samples")
    return Sampling(int(given["n"]), int(given["steps"]), float(given["eta"]), given["reference"])  # type: ignore[arg-type]
