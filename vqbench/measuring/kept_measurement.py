"""Folders that keep the progress and the results of measurements."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import StoreError
from vqbench.evaluation.reconstructions import MetricPass
from vqbench.system import jsontext, stored_files
from vqbench.system.stored_files import write_atomically

PROGRESS, RESULT, PER_IMAGE, DIGESTS = "progress.npz", "measured.json", "per_image.csv", "digests.npy"
STATE, IMAGE, ABOUT = "state/", "image/", "about"  # beginnings of the names of arrays
FORM = 3  # raised by hand when results get other keys, so that earlier ones are not read


@dataclass
class PassProgress:
    """How far a pass over pairs is."""

    position: int = 0  # pairs that were read, which ends a batch
    places: list[int] = field(default_factory=list)  # of the measured ones
    damaged: dict[str, str] = field(default_factory=dict)  # name -> reason, of those left out
    digests: list[bytes] = field(default_factory=list)  # of the measured pairs and their codes


def key_of(facts: Any) -> str:
    """Return 16 hexadecimal digits for inputs and settings, given as JSON data."""
    return hashlib.sha256(json.dumps([FORM, facts], sort_keys=True).encode()).hexdigest()[:16]


class KeptMeasurement:
    """The folder of one measurement, named by its inputs and settings."""

    def __init__(self, store: Path, key: str) -> None:
        self.folder = store / key

    def result(self) -> dict[str, Any] | None:
        """Return the result, or None while it is unfinished or if it is damaged."""
        try:
            content = stored_files.json_of(self.folder / RESULT)
        except (FileNotFoundError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def finish(self, result: Mapping[str, Any], per_image: str = "", digests: np.ndarray | None = None) -> None:
        """Write the result, and delete the progress. Raises Unwritable."""
        if per_image:
            write_atomically(self.folder / PER_IMAGE, per_image.encode())
        if digests is not None:
            buffer = io.BytesIO()
            np.save(buffer, digests)
            write_atomically(self.folder / DIGESTS, buffer.getbuffer())
        write_atomically(self.folder / RESULT, jsontext.dumps(result).encode())
        for left in (self.folder / PROGRESS, *self.folder.glob("features-*.npy")):
            left.unlink(missing_ok=True)

    def save(self, progress: PassProgress, passed: MetricPass) -> None:
        """Write the state of all metrics after whole batches. Raises Unwritable."""
        arrays: dict[str, np.ndarray] = {
            "places": np.array(progress.places, np.int64),
            "digests": np.frombuffer(b"".join(progress.digests), np.uint8),
        }
        for name, metrics in passed.metrics.items():
            for metric, collector in metrics.items():
                for part, tensor in collector.state.items():
                    arrays[f"{STATE}{name}/{metric}/{part}"] = tensor.numpy()
        for name, parts in passed.per_image.items():
            arrays[f"{IMAGE}{name}"] = np.concatenate(parts)
        about = {"position": progress.position, "damaged": progress.damaged}
        arrays[ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its options
        write_atomically(self.folder / PROGRESS, buffer.getbuffer())

    def restore(self, passed: MetricPass) -> PassProgress:
        """Set all metrics to the saved state.

        Nothing is done if there is none, or if it is damaged.
        """
        try:
            arrays = stored_files.arrays(self.folder / PROGRESS)
            about = json.loads(arrays[ABOUT].tobytes())
            places = arrays["places"].tolist()
            digests = [row.tobytes() for row in arrays["digests"].reshape(len(places), -1)] if places else []
            progress = PassProgress(int(about["position"]), places, dict(about["damaged"]), digests)
            states = [
                (
                    collector,
                    {
                        part: _as_saved(arrays[f"{STATE}{name}/{metric}/{part}"], tensor)
                        for part, tensor in collector.state.items()
                    },
                )
                for name, metrics in passed.metrics.items()
                for metric, collector in metrics.items()
            ]
        except (FileNotFoundError, StoreError, ValueError, KeyError, TypeError):
            return PassProgress()
        for collector, state in states:
            collector.state = state
        passed.counts = dict.fromkeys(passed.counts, len(places))
        values = {name.removeprefix(IMAGE): array for name, array in arrays.items() if name.startswith(IMAGE)}
        passed.per_image = {name: [array] for name, array in values.items()}
        return progress


def _as_saved(array: np.ndarray, like: Tensor) -> Tensor:
    """Return a saved state.

    Raises ValueError unless it is of the shape and type that the metric has now.
    """
    tensor = torch.from_numpy(array.copy())
    if tensor.shape != like.shape or tensor.dtype != like.dtype:
        raise ValueError("the state of another metric")
    return tensor
