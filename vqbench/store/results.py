"""Results folders: one folder per run, whose record is written last.

The record is written by rename, so its presence means that the run is whole.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vqbench.errors import Damaged, StoreError, UsageError, nearest
from vqbench.spec import RunSpec
from vqbench.store import schema
from vqbench.store.record import Failure, NewerFormat, Record, lacking
from vqbench.system import locks, stored_files
from vqbench.system.stored_files import half_written, set_aside, write_atomically

if TYPE_CHECKING:
    from vqbench.store.record_summary import RecordSummary

LISTED = 10  # runs that one sentence lists


class ResultStore:
    """A results folder.

    ``ROOT/DATASET-QUANTIZER-KEY/`` per run, ``ROOT/DATASET-QUANTIZER-PARENT-RECIPE-KEY/`` per second stage, where
    PARENT begins the key of the first stage, and ``ROOT/suites/`` for what each suite resolved to.

    ``damage`` has a sentence for each file that could not be read so far; see :meth:`sound` and :meth:`records`.
    ``index``: a folder of this user for the index that :meth:`summaries` uses; None: without.
    Raises StoreError if ``root`` exists and is no folder, UsageError if it is empty.
    """

    def __init__(self, root: str | Path, index: Path | None = None) -> None:
        self.root = root if isinstance(root, Path) else _parsed(root)
        self.index = index
        self.damage: dict[Path, str] = {}
        self._unreadable: set[Path] = set()  # of these, files that may be sound: refused by the system, or newer
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root}: not a folder; name another results folder with --store")

    @property
    def name(self) -> str:
        """Name of the folder, for tables and pages; that of the working folder for ``.``.

        >>> ResultStore("/home/me/runs").name
        'runs'
        """
        return Path(os.path.abspath(self.root)).name

    def folder(self, run: RunSpec) -> Path:
        """Return the folder of ``run``, which need not exist."""
        stage = "" if run.parent is None else f"{run.parent[:8]}-{run.recipe.name}-"
        return self.root / f"{run.dataset.name}-{run.quantizer.name}-{stage}{run.key}"

    def __contains__(self, run: RunSpec) -> bool:
        return (self.folder(run) / "record.json").exists()

    def read(self, run: RunSpec) -> Record | None:
        """Return the record of ``run``, or None if it has not finished here.

        Raises StoreError.
        """
        return self._read(self.folder(run) / "record.json", run)

    def sound(self, run: RunSpec) -> Record | None:
        """Return the record of ``run``, or None if missing or unreadable.

        An unreadable one is noted in :attr:`damage`.
        """
        return self._sound(self.folder(run) / "record.json", run)

    def read_at(self, path: Path) -> Record | None:
        """Return the record in the file ``path`` of this folder, of whatever run.

        Raises StoreError.
        """
        return self._read(path)

    def standing(self, run: RunSpec) -> str:
        """Return the state of a run with a damaged or unreadable file, else "".

        Of the files that were read so far.
        """
        paths = [self.folder(run) / name for name in ("record.json", "failed.json")]
        return next((self._state(path) for path in paths if path in self.damage), "")

    def obstacle(self, run: RunSpec) -> Failure | None:
        """Return why ``run`` has no record to show, or None.

        It failed, or a file of it cannot be read.
        """
        path = self.folder(run) / "record.json"
        if path in self.damage:
            return Failure(self._state(path), [])
        try:
            return self.failure(run)
        except StoreError as error:
            path = self.folder(run) / "failed.json"
            self._note(path, error)
            return Failure(self._state(path), [])

    def images(self, run: RunSpec) -> dict[str, np.ndarray]:
        """Return per-image values, or nothing if they cannot be read.

        The damage is noted in :attr:`damage`.
        """
        try:
            return self.read_images(run)
        except StoreError as error:
            self._note(self.folder(run) / "per_image.npz", error)
            return {}

    def records(self) -> Iterator[Record]:
        """Yield all readable records of the folder, by name.

        The others are noted in :attr:`damage`.
        """
        for path in sorted(self.root.glob("*/record.json")):
            record = self._sound(path)
            if record is not None:
                yield record

    def summaries(self) -> list[RecordSummary]:
        """Return what planning needs of all readable records, by name.

        The others are noted in :attr:`damage`. Files that are as :attr:`index` has them are not read.
        """
        from vqbench.store import record_index  # here: a worker needs none

        return record_index.summaries(self.root, self.index, self._sound)

    def find(self, name: str) -> Record:
        """Return the record of the finished run ``name``.

        ``name`` is its key, the beginning of its key, or its folder's name.

        Raises UsageError if no run has this name, or more than one.
        """
        keys = {path.parent.name: path.parent.name.rpartition("-")[2] for path in self.root.glob("*/record.json")}
        matching = sorted(folder for folder, key in keys.items() if name and (name == folder or key.startswith(name)))
        if len(matching) > 1:
            raise UsageError(f"{name!r} begins the keys of {len(matching)} runs of {self.root}: {_listed(matching)}")
        if not matching:
            few = len(keys) <= LISTED
            hint = f"; {nearest(name, sorted(keys))}" if few else "; `vqbench plan SUITE` lists the keys"
            raise UsageError(f"{self.root} has no finished run {name!r}{hint}")
        record = self._read(self.root / matching[0] / "record.json")
        if record is None or self.folder(record.run).name != matching[0]:
            raise StoreError(f"{self.root / matching[0]}: its record is of another run; was the folder renamed?")
        return record

    def write(self, record: Record) -> None:
        """Store ``record``; its run then counts as done.

        An earlier failure of the run is removed.
        """
        write_atomically(self.folder(record.run) / "record.json", record.to_json().encode())
        self.forget_failure(record.run)

    def missing(self, run: RunSpec, wanted: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, list[str]]:
        """Return the ``wanted`` metrics that are not stored.

        See :func:`vqbench.store.record.lacking`.
        """
        return lacking(self.read(run), wanted)

    # Per-image values, for paired statistics: one .npz per run, arrays named "protocol/metric".

    def write_images(self, run: RunSpec, arrays: Mapping[str, np.ndarray]) -> None:
        """Add per-image values, (N,) by "protocol/metric", to those stored of ``run``."""
        self.write_images_at(self.folder(run) / "per_image.npz", {**self.read_images(run), **arrays})

    @staticmethod
    def write_images_at(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """Write per-image values, (N,) by "protocol/metric", to the file ``path``."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: arrays[name].astype(np.float32) for name in sorted(arrays)})  # type: ignore[arg-type]  # none is called allow_pickle
        write_atomically(path, buffer.getvalue())

    def read_images(self, run: RunSpec) -> dict[str, np.ndarray]:
        """Return per-image values, (N,) by "protocol/metric". Raises Damaged."""
        return self.images_at(self.folder(run) / "per_image.npz")

    @staticmethod
    def images_at(path: Path) -> dict[str, np.ndarray]:
        """Return the per-image values in the file ``path``. Raises Damaged."""
        try:
            arrays = stored_files.arrays(path)
            for name, values in arrays.items():
                if values.ndim != 1 or values.dtype.kind != "f" or "/" not in name:
                    raise ValueError(f"{name[:80]!r} has values of shape {values.shape} of {values.dtype}")
            return arrays
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Damaged(
                f"{path}: damaged ({error}); delete it and the record beside it, and `vqbench run` measures again"
            ) from error

    # Failures are kept, so that a table can say why a cell is empty.

    def fail(self, run: RunSpec, failure: Failure) -> None:
        """Store why ``run`` did not finish."""
        write_atomically(self.folder(run) / "failed.json", (json.dumps(asdict(failure), indent=1) + "\n").encode())

    def forget_failure(self, run: RunSpec) -> None:
        """Remove the reason of an earlier failure, if there is one.

        Only the process that has locked the run may call this.
        """
        path = self.folder(run) / "failed.json"
        if os.path.lexists(path):
            from vqbench.store import deletion

            deletion.delete(self.root, [path])

    def failure(self, run: RunSpec) -> Failure | None:
        """Return why ``run`` failed, or None. Raises Damaged."""
        path = self.folder(run) / "failed.json"
        try:
            content = stored_files.json_of(path)
            schema.failure(content)
            return Failure(**content)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Damaged(f"{path}: cannot be read ({error}); delete it to try the run again") from error

    def mend(self, run: RunSpec) -> list[str]:
        """Set aside damaged files of ``run``, so that it is done again.

        Return one sentence per file.

        Files that a killed process has half written are removed. Only the process that has locked the run may call
        this. Per-image values and their means belong together: if the former are damaged, the record is set aside too.
        """
        folder = self.folder(run)
        sentences: list[str] = []
        if folder.is_dir() and half_written(folder):
            from vqbench.store import deletion

            sentences = deletion.clear(self.root, folder)
        readers = {"failed.json": self.failure, "per_image.npz": self.read_images, "record.json": self.read}
        for name, read in readers.items():
            try:
                read(run)
            except Damaged as error:
                names = [name, "record.json"] if name == "per_image.npz" else [name]
                paths = [folder / each for each in names if (folder / each).exists()]
                sentences.extend(f"{error}; {path.name} is now {set_aside(path).name}" for path in paths)
        return sentences

    def lock(self, run: RunSpec) -> AbstractContextManager[bool]:
        """Lock the run for this process; yields whether that succeeded.

        See :mod:`vqbench.system.locks`.
        """
        return locks.lock_folder(self.folder(run))

    def is_locked(self, run: RunSpec) -> bool:
        """Return whether some process works on ``run`` now. Needs no write permission."""
        return locks.is_locked(self.folder(run))

    def _note(self, path: Path, error: StoreError) -> None:
        self.damage[path] = str(error)
        if not isinstance(error, Damaged):
            self._unreadable.add(path)

    def _state(self, path: Path) -> str:
        return f"{'unreadable' if path in self._unreadable else 'damaged'}: {self.damage[path]}"

    def _sound(self, path: Path, run: RunSpec | None = None) -> Record | None:
        try:
            return self._read(path, run)
        except StoreError as error:
            self._note(path, error)
            return None

    @staticmethod
    def _read(path: Path, run: RunSpec | None = None) -> Record | None:
        try:
            record = Record.from_content(stored_files.json_of(path))
            if run is not None and record.run.key != run.key:
                raise ValueError(f"it is of another run, {record.run.key}")
            return record
        except FileNotFoundError:
            return None
        except NewerFormat as error:
            raise NewerFormat(f"{path}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise Damaged(
                f"{path}: not a record of vqbench ({error}); `vqbench run` sets it aside and does the run again"
            ) from error


def selected_weights(folder: Path) -> Path:
    """Return the file of the selected weights in a run's ``folder``.

    Raises StoreError where they were removed.
    """
    path = folder / "best.pt"
    if not path.exists():
        raise StoreError(f"{path}: the checkpoint was removed; delete its folder to train the run again")
    return path


def damage_of(stores: Iterable[ResultStore]) -> list[str]:
    """Return a sentence for each file of ``stores`` that could not be read so far."""
    return [sentence for store in stores for sentence in store.damage.values()]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def _parsed(text: str) -> Path:
    """Return the path that a user wrote."""
    from vqbench.system.paths import path_of  # here: a worker is given a path

    return path_of(text)
