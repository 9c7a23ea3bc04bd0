"""Delete what finished runs no longer need: checkpoints, cached latents and samples. Records stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqbench.spec import RunSpec
from vqbench.store import deletion
from vqbench.store.results import ResultStore

PATTERNS = ("last.pt", "best.pt", "encoded-*", "samples-*.npy", "samples-*.parts/*", "samples.sha256")


@dataclass(frozen=True)
class Checkpoints:
    """The deletable files of finished runs with their sizes, and those that must stay."""

    sizes: dict[Path, int]  # bytes of each file
    skipped: Sequence[Path]  # links, and files that lie outside of the store

    @property
    def megabytes(self) -> float:
        return sum(self.sizes.values()) / 1e6


def find_checkpoints(runs: Iterable[RunSpec], store: ResultStore) -> Checkpoints:
    """List the checkpoints and samples of those of ``runs`` that are finished in ``store``."""
    folders = [store.folder(run) for run in runs if run in store]
    files = [path for folder in folders for pattern in PATTERNS for path in sorted(folder.glob(pattern))]
    own = [path for path in files if deletion.within(store.root, path) and path.is_file()]
    return Checkpoints({path: path.stat().st_size for path in own}, [path for path in files if path not in own])


def delete_checkpoints(checkpoints: Checkpoints, store: ResultStore) -> None:
    """Delete the files of ``checkpoints``; links, and what they lead to, stay. Raises Unwritable."""
    deletion.delete(store.root, checkpoints.sizes)
