"""Send a run the files of its first stage, where no results folder is shared.

The selected weights are named by their SHA-256. The driver hands each to the cluster once, which brings them to the
machines that need them and keeps them there for other runs; a machine compares what has arrived with the digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vqbench.errors import StoreError
from vqbench.execution.executors.file_sync import Files, pack, unpack
from vqbench.spec import Job, RunSpec
from vqbench.store.results import ResultStore, selected_weights
from vqbench.system import stored_files


@dataclass(frozen=True)
class FirstStageFiles:
    """The record of a first stage, and the digest of its weights."""

    files: Files
    digest: str | None  # None: the weights are not needed


class WeightsInCluster:
    """The weights of first stages that the driver has handed to the cluster.

    Args:
        store: The results folder.
        put: Hands content to the cluster; returns the reference to it.
    """

    def __init__(self, store: ResultStore, put: Callable[[bytes], Any]) -> None:
        self.store, self._put = store, put
        self._kept: dict[str, tuple[str, Any]] = {}  # key of a first stage -> digest of its weights, and reference

    def of(self, job: Job) -> tuple[FirstStageFiles | None, Any]:
        """Return what ``job`` needs of its first stage, and the reference to the weights.

        Both are None where it needs none. Raises StoreError where the weights were removed or
        cannot be read.
        """
        first = job.first_stage
        if first is None:
            return None, None
        folder = self.store.folder(first)
        record = pack(folder, only=("record.json",))
        if not job.generates and job.run in self.store:  # all that it needed of them is in its own weights
            return FirstStageFiles(record, None), None
        if first.key not in self._kept:
            content = stored_files.content(selected_weights(folder))
            self._kept[first.key] = hashlib.sha256(content).hexdigest(), self._put(content)
        digest, reference = self._kept[first.key]
        return FirstStageFiles(record, digest), reference

    def release(self, jobs: Iterable[Job]) -> None:
        """Drop all references that none of ``jobs`` needs."""
        needed = {job.first_stage.key for job in jobs if job.first_stage is not None}
        for key in self._kept.keys() - needed:
            del self._kept[key]


def write_first_stage(store: ResultStore, first: RunSpec, given: FirstStageFiles, weights: bytes | None) -> None:
    """Write the files of a first stage into the results folder of this machine.

    Raises StoreError for other weights than those that the driver has sent.
    """
    files = dict(given.files)
    if given.digest is not None:
        content = weights or b""
        if hashlib.sha256(content).hexdigest() != given.digest:
            raise StoreError(
                f"the weights of its first stage, {first.key}, arrived damaged on this node; run the same command again"
            )
        files["best.pt"] = content
    unpack(store.folder(first), files)
