"""Cache Inception's features of a split on disk for later runs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vqbench import assets
from vqbench.assets.content import digest_of_arrays, replacing
from vqbench.errors import StoreError
from vqbench.networks import inception
from vqbench.protocol import MeasureProtocol
from vqbench.system import stored_files

DIGEST = hashlib.sha256().digest_size


def features_path(protocol: MeasureProtocol, dataset: str, device: torch.device) -> Path | None:
    """Return the file for the features of the split with digest ``dataset``.

    Its name contains all that decides them. rFID's originals and the references of samples share a file. None for
    images without a digest.
    """
    if not dataset:
        return None
    weights = _weights_digest(inception.network(device))[:16]
    name = f"{dataset}-{protocol.name}-v{protocol.VERSION}-rfid-v{inception.VERSION}-{weights}.npy"
    return assets.cache_folder() / "features" / name


@cache
def _weights_digest(net: nn.Module) -> str:
    return digest_of_arrays({name: tensor.cpu().numpy() for name, tensor in net.state_dict().items()})


class FeatureCache:
    """Features by position in a split, in memory and on disk.

    The file is an (N, 2048) array, the features of the first N images, and its SHA-256. It is replaced as a whole, and
    only by a longer one; a process that has other images than the first N (one rank of several) does not write it.
    Without a ``path``, features are kept in memory alone, and not even there unless ``keep``.
    """

    def __init__(self, path: Path | None, keep: bool = True) -> None:
        self.path, self._keep = path, keep or path is not None
        self._rows: dict[int, Tensor] = dict(enumerate(torch.from_numpy(self._on_disk())))

    def get(self, index: Sequence[int], compute: Callable[[list[int]], Iterable[Tensor]]) -> Tensor:
        """Return the features (B, 2048) of the images at ``index``.

        ``compute`` gets the places within ``index`` whose features are missing, and yields those, (2048,) each. A
        feature is kept as soon as it is yielded: after an error in ``compute`` the earlier ones are not lost.
        """
        if not self._keep:
            return torch.stack([*compute(list(range(len(index))))])
        missing = [place for place, position in enumerate(index) if position not in self._rows]
        if missing:
            for place, row in zip(missing, compute(missing), strict=True):
                self._rows[index[place]] = row
        return torch.stack([self._rows[position] for position in index])

    def save(self) -> None:
        """Write the file if it would become longer; warn if it cannot be written."""
        count = len(self._rows)
        if (
            self.path is None
            or count <= len(self._on_disk())
            or not all(position in self._rows for position in range(count))
        ):
            return
        rows = torch.stack([self._rows[position] for position in range(count)]).numpy()
        try:
            with replacing(self.path) as file:
                np.save(file, rows)
                file.write(hashlib.sha256(rows.data).digest())
        except OSError as error:
            warnings.warn(
                f"{self.path}: FID features of the originals are not kept for the next run: {error}", stacklevel=2
            )

    def _on_disk(self) -> np.ndarray:
        """Read the file, (N, 2048); no rows if it is missing or damaged."""
        with suppress(StoreError, FileNotFoundError, ValueError):
            if self.path is None:
                raise FileNotFoundError
            array, digest = stored_files.large_array(self.path, DIGEST)
            sound = digest == hashlib.sha256(array.data).digest()
            if sound and array.ndim == 2 and array.shape[1] == inception.DIM and array.dtype == np.float32:
                return array
        return np.empty((0, inception.DIM), np.float32)
