"""Write the snapshot of a trained model: its use of codes, and some images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqbench.backbone import Autoencoder
from vqbench.dataset import Dataset
from vqbench.distributed.collectives import WholeBatch
from vqbench.functional import all_sum, flatten, float32_products
from vqbench.images import rounded, to_unit
from vqbench.store import snapshots

SAME, EXTREME = 64, 2  # images that are the same for all runs, and of each of the worst, median and best
LARGE = 32  # side in pixels above which fewer are kept
SAME_LARGE, EXTREME_LARGE = 16, 1
ENCODED = 16  # images whose features are in the plane
FEATURES = 600  # in the plane
DECODED, PATCH = 256, 8  # codes decoded alone at most, and the side of their images
CODES = 4096  # for larger codebooks, neither positions in the plane nor images of codes are kept
PASS = 2**18  # pixels decoded at once


class SnapshotWriter:
    """Counts the codes of all measured images, then writes the snapshot.

    Nothing here is random, and the model stays in evaluation mode. With several ranks each counts the codes of its own
    images; all ranks must call :meth:`counts`, which adds them up, and rank 0 calls :meth:`draw`.
    """

    def __init__(self, model: Autoencoder, device: torch.device) -> None:
        self.model, self.device = model, device
        depth = model.quantizer.depth
        self._counts = torch.zeros(depth, model.quantizer.num_codes if depth else 0, dtype=torch.int64, device=device)
        self._first = torch.arange(depth, device=device) * self._counts.shape[1]

    @torch.no_grad()
    def see(self, codes: Tensor) -> None:
        """Count ``codes`` (B, H, W, depth)."""
        places = (codes + self._first).flatten()
        self._counts.view(-1).scatter_add_(0, places, torch.ones_like(places))

    def counts(self) -> np.ndarray | None:
        """Return how often each code occurred on all ranks, (depth, K).

        None without a codebook, or before any image.
        """
        counts = all_sum(self._counts).cpu()
        return counts.numpy() if counts.any() else None

    @torch.no_grad()
    def draw(self, folder: Path, dataset: Dataset, counts: np.ndarray | None, lpips: np.ndarray | None) -> None:
        """Write the snapshot to the run's folder.

        ``lpips`` are the values (N,) per measured image, if LPIPS was measured.
        """
        with WholeBatch():  # the other ranks do not take part
            self._draw(folder, dataset, counts, lpips)

    def _draw(self, folder: Path, dataset: Dataset, counts: np.ndarray | None, lpips: np.ndarray | None) -> None:
        self.model.eval()
        pixels = dataset.pixels("test")
        chosen, groups = choose(len(pixels), lpips, dataset.size > LARGE)
        originals = pixels[torch.from_numpy(chosen)]
        x = to_unit(originals.to(self.device))
        reconstructions = torch.cat([self.model(part)[0].float() for part in x.split(4)])
        levels = rounded(((reconstructions + 1) / 2).clamp(0, 1).nan_to_num()).cpu()
        z = self.model.backbone.encode(x[:ENCODED]).float()  # (B, dim, s, s)
        codes_at, features_at, explained = self._plane(z)
        decoded, decoded_codes = self._alone(z.shape[-2:], counts, dataset.size)
        scores = np.full(len(chosen), np.nan) if lpips is None else lpips[np.minimum(chosen, len(lpips) - 1)]
        scores = np.where(chosen < (0 if lpips is None else len(lpips)), scores, np.nan)
        snapshots.write(
            folder,
            snapshots.Snapshot(
                positions=z[0, 0].numel(),
                counts=counts,
                chosen=chosen,
                groups=groups,
                scores=scores.astype(np.float32),
                originals=originals.numpy(),
                reconstructions=levels.numpy(),
                codes_at=codes_at,
                features_at=features_at,
                explained=explained,
                decoded=decoded,
                decoded_codes=decoded_codes,
                codes_per_image=self._codes_per_image(z, counts),
            ),
        )

    def _codes_per_image(self, z: Tensor, counts: np.ndarray | None) -> np.ndarray | None:
        """Return how many codes of each depth, (depth,), describe one map like ``z``."""
        return None if counts is None else np.array(self.model.quantizer.codes_per_image(*z.shape[-2:]))

    def _vectors(self) -> Tensor | None:
        """Return the vectors (K, dim) of all codes.

        None for several codes per position, or a codebook of more than ``CODES``.
        """
        quantizer = self.model.quantizer
        if quantizer.depth != 1 or quantizer.num_codes > CODES:
            return None
        every = torch.arange(quantizer.num_codes, device=self.device).view(-1, 1, 1, 1)  # maps of one position
        with float32_products():
            return flatten(quantizer.decode(every).detach().float(), quantizer.dim)

    def _plane(self, z: Tensor) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """Project codes and some features on the features' two main directions.

        Returns positions of codes (K, 2), or None, of features (F, 2), and the directions' shares of variance (2,).
        """
        features = flatten(z, z.shape[1]).cpu().double()  # (N, dim)
        centre = features.mean(0)
        variances, directions = torch.linalg.eigh((features - centre).T.cov(correction=0))
        axes = directions[:, -2:].flip(1)
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # a direction's sign is arbitrary
        explained = variances[-2:].flip(0) / variances.sum().clamp(min=1e-30)
        some = features[:: max(1, len(features) // FEATURES)][:FEATURES]
        vectors = self._vectors()
        codes = None if vectors is None else ((vectors.cpu().double() - centre) @ axes).float().numpy()
        return codes, ((some - centre) @ axes).float().numpy(), explained.float().numpy()

    def _alone(
        self, size: torch.Size, counts: np.ndarray | None, side: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Decode maps of one code each, of the most used codes.

        Returns the middle of the images (k, C, s, s) uint8, and the codes (k,), the most used first; else None.
        """
        if counts is None or self._vectors() is None:
            return None, None
        order = np.argsort(-counts[0], kind="stable")[:DECODED]
        patch = min(PATCH, side)
        start = (side - patch) // 2
        middle = slice(start, start + patch)
        parts = []
        for part in torch.from_numpy(order).to(self.device).split(max(1, PASS // side**2)):
            maps = part.view(-1, 1, 1, 1).expand(-1, *size, 1)
            with float32_products():
                z_q = self.model.quantizer.decode(maps)
            images = self.model.backbone.decode(z_q).float()
            parts.append(images[..., middle, middle].cpu())
        return rounded(((torch.cat(parts) + 1) / 2).clamp(0, 1).nan_to_num()).numpy(), order


def lpips_of(images: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return LPIPS per image (N,) out of "protocol/metric" -> values, or None."""
    return next((values for name, values in sorted(images.items()) if name.endswith("/lpips")), None)


def choose(count: int, lpips: np.ndarray | None, large: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Choose images of a test split: their positions, and the group of each.

    The split has ``count`` images. Those of the group ``same`` are spread evenly over the split, for every run alike,
    and so are the first 2, 4, 8 ... of them; those of ``worst``, ``median`` and ``best`` are chosen by LPIPS.
    ``large``: fewer.
    """
    same, extreme = (SAME_LARGE, EXTREME_LARGE) if large else (SAME, EXTREME)
    shares = np.array([_spread(i) for i in range(same)])
    common = np.unique((shares * count).astype(np.int64), return_index=True)[1]  # of fewer images than that, each once
    common = (shares[np.sort(common)] * count).astype(np.int64)
    chosen, groups = [common], ["same"] * len(common)
    if lpips is not None and len(lpips) >= 3 * extreme and np.isfinite(lpips).all():
        order = np.argsort(-lpips, kind="stable")
        middle = (len(order) - extreme) // 2
        named = {"worst": order[:extreme], "median": order[middle : middle + extreme], "best": order[::-1][:extreme]}
        for name, which in named.items():
            chosen.append(which.astype(np.int64))
            groups += [name] * len(which)
    return np.concatenate(chosen), np.array(groups)


def _spread(i: int) -> float:
    """Return the share ``i`` of the sequence 0, 1/2, 1/4, 3/4, 1/8 (mirrored bits)."""
    return int(f"{i:b}"[::-1], 2) / (1 << i.bit_length())
