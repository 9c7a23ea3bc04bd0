"""Delete checkpoints, cached latents and samples of finished runs."""

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
    """The files of finished runs that may be deleted, and those that must stay."""

    sizes: dict[Path, int]  # bytes of each file
    skipped: Sequence[Path]  # links, and files that lie outside of the store

    @property
    def megabytes(self) -> float:
        return sum(self.sizes.values()) / 1e6


def find_checkpoints(runs: Iterable[RunSpec], store: ResultStore) -> Checkpoints:
    """List the checkpoints and samples of the finished runs among ``runs``."""
    folders = [store.folder(run) for run in runs if run in store]
    files = [path for folder in folders for pattern in PATTERNS for path in sorted(folder.glob(pattern))]
    own = [path for path in files if deletion.within(store.root, path) and path.is_file()]
    return Checkpoints({path: path.stat().st_size for path in own}, [path for path in files if path not in own])


def delete_checkpoints(checkpoints: Checkpoints, store: ResultStore) -> None:
    """Delete the files of ``checkpoints``; links stay.

    Raises Unwritable where the file system refuses.
    """
    deletion.delete(store.root, checkpoints.sizes)
