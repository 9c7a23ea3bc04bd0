"""Reconstruction FID."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.linalg
import torch

from vqbench.errors import RunError
from vqbench.metric import Batch
from vqbench.metrics._features import OfFeatures
from vqbench.networks import inception
from vqbench.networks.compat import ensure_torchvision

EPS = 1e-6  # on the diagonals of both covariances where the root of their product cannot be had


class RFID(OfFeatures):
    """Fréchet distance between Inception features of all originals and of all reconstructions.

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)), with the means m and unbiased covariances S of the 2048 features of pool3.
    Images are in 8 bits, grey tiled to RGB. Under a protocol without an additional resize it is torch-fidelity's FID,
    extractor and distance; with one (229) it is that of the released code: Pillow's resize, the same network, and the
    root by scipy.

    It is biased: from fewer than 2,048 images the covariances are singular and the value depends strongly on how
    many there are, so compare only values from equally many images. RunError for fewer than 2.
    """

    label = "rFID"
    better = "min"
    digits = 2
    few = inception.DIM
    fewest = 2
    reference = "Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, arXiv 1706.08500"

    def reset(self) -> None:
        d = inception.DIM
        self.state = {"count": torch.zeros((), dtype=torch.float64)}
        for side in ("originals", "reconstructions"):
            self.state[f"{side}_sum"] = torch.zeros(d, dtype=torch.float64)
            self.state[f"{side}_outer"] = torch.zeros(d, d, dtype=torch.float64)

    def update(self, batch: Batch) -> None:
        self.state["count"] += len(batch.index)
        for side, features in zip(("originals", "reconstructions"), self.features(batch), strict=True):
            f = features.double()  # (B, 2048)
            self.state[f"{side}_sum"] += f.sum(0)
            self.state[f"{side}_outer"].addmm_(f.T, f)

    def compute(self) -> float:
        count = int(self.state["count"])
        if count < 2:
            raise RunError(f"rFID needs at least 2 images, for their covariance, and was given {count}")
        self.originals.save()
        distance = torch_fidelity_distance if self.context.protocol.fid_resize is None else scipy_distance
        return distance(*self._moments("originals"), *self._moments("reconstructions"))

    def _moments(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean (2048,) and unbiased covariance (2048, 2048)."""
        count, total, outer = self.state["count"], self.state[f"{side}_sum"], self.state[f"{side}_outer"]
        mean = total / count
        return mean.numpy(), ((outer - count * mean.outer(mean)) / (count - 1)).numpy()


def torch_fidelity_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """The Fréchet distance of two Gaussians as torch-fidelity has it: the root's trace by eigenvalues."""
    ensure_torchvision()
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    one, two = {"mu": mean1, "sigma": cov1}, {"mu": mean2, "sigma": cov2}
    return float(fid_statistics_to_metric(one, two, verbose=False)[KEY_METRIC_FID])


def scipy_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """The Fréchet distance of two Gaussians as the released code has it: the root by scipy.

    Where the product of the covariances is singular and has no finite root, 1e-6 is added to both diagonals. Raises
    RunError if the root's diagonal is not real up to 1e-3.
    """
    root = _root(cov1 @ cov2)
    if not np.isfinite(root).all():
        offset = EPS * np.eye(len(cov1))
        root = _root((cov1 + offset) @ (cov2 + offset))
    diagonal = np.diagonal(root)
    if not np.allclose(diagonal.imag, 0, atol=1e-3):
        raise RunError(
            f"rFID: the covariances' root has an imaginary part of {abs(diagonal.imag).max():.2g}; use more images"
        )
    shift = mean1 - mean2
    return float(shift @ shift + np.trace(cov1) + np.trace(cov2) - 2 * diagonal.real.sum())


def _root(product: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():  # singular is what it must be from fewer than 2,048 images
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        root: np.ndarray = scipy.linalg.sqrtm(product)
        return root
