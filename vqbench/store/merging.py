"""Merge results folders: finished runs are copied, values added, conflicts left.

Nothing that a folder has is overwritten. The record of a run is written last, so that a merge that was stopped is
resumed by the same call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from vqbench.errors import StoreError, Unwritable
from vqbench.store import deletion, external_record, external_rows, snapshots
from vqbench.store.checkpoints import PATTERNS
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore
from vqbench.store.verifying import NO_FOLDER, run_folders
from vqbench.system import locks, stored_files

NAMED = 3  # differences of one run that a conflict names

State = Literal["copied", "completed", "same", "conflict", "unreadable", "unfinished"]


@dataclass(frozen=True)
class MergedRun:
    """What became of one run, or of one resolved suite."""

    name: str  # of its folder or file
    state: State
    about: str = ""  # conflict: both values; unreadable, unfinished: the reason


@dataclass(frozen=True)
class FinishedRun:
    """What a results folder has of a finished run, without checkpoints."""

    folder: Path
    record: Record
    images: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Merge:
    """The folders of a merge, and how it is done."""

    sources: Sequence[ResultStore]  # without the target
    target: ResultStore
    checkpoints: bool
    dry_run: bool


def merge(
    sources: Sequence[ResultStore], target: ResultStore, checkpoints: bool = False, dry_run: bool = False
) -> Iterator[MergedRun]:
    """Merge the finished runs of ``sources`` into ``target``; yield each result.

    A run that several folders have is one if all values that they share are equal. Otherwise it is a conflict, and
    nothing of it is written. ``checkpoints``: copy them, too. ``dry_run``: write nothing.

    Raises Unwritable where ``target`` cannot be written; what was merged before is whole.
    """
    others = [store for store in sources if store.root.resolve() != target.root.resolve()]
    task = _Merge(others, target, checkpoints, dry_run)
    for name in sorted({folder.name for store in others for folder in run_folders(store)}):
        try:
            yield _merged(task, name) if dry_run else _merged_under_lock(task, name)
        except Unwritable:
            raise
        except (StoreError, ValueError) as error:
            yield MergedRun(name, "unreadable", str(error))
    yield from _external(task)
    yield from _suites(task)


def differences(first: FinishedRun, second: FinishedRun) -> list[str]:
    """Return how two records of one run contradict each other.

    An empty list means that both are of the same weights: all shared values are equal to the last digit, or, if they
    share none, the histories of their trainings are.
    """
    a, b = _values(first.record), _values(second.record)
    shared = sorted(a.keys() & b.keys())
    found = [
        f"{name} is {_shown(a[name], b[name])} in {first.folder.parent}, {_shown(b[name], a[name])} in "
        f"{second.folder.parent}"
        for name in shared
        if _exact(a[name]) != _exact(b[name])
    ]
    found += [
        f"per-image values of {name} differ between {first.folder.parent} and {second.folder.parent}"
        for name in sorted(first.images.keys() & second.images.keys())
        if not np.array_equal(first.images[name], second.images[name], equal_nan=True)
    ]
    if not shared and repr(first.record.history) != repr(second.record.history):
        found.append(f"no value in common, and other trainings, in {first.folder.parent} and {second.folder.parent}")
    return found


def _merged_under_lock(task: _Merge, name: str) -> MergedRun:
    """Merge the run ``name`` while no other process works on it in the target."""
    checked = _merged(_Merge(task.sources, task.target, task.checkpoints, dry_run=True), name)
    if checked.state not in ("copied", "completed"):
        return checked
    folder = task.target.root / name
    new = not (folder / locks.LOCK_NAME).exists()
    with locks.lock_folder(folder) as locked:
        if not locked:
            return MergedRun(name, "unfinished", f"a process works on it in {task.target.root}")
        deletion.clear(task.target.root, folder)  # what a killed merge has half written
        try:
            return _merged(task, name)  # with what the folder has by now
        finally:
            if new:
                (folder / locks.LOCK_NAME).unlink(missing_ok=True)  # published results have none


def _merged(task: _Merge, name: str) -> MergedRun:
    """Merge the run ``name``, or with ``dry_run`` say what would become of it."""
    here = task.target.root / name
    if os.path.lexists(here) and not here.is_dir():
        return MergedRun(name, "unreadable", f"{here}: {NO_FOLDER}")
    reasons, runs = [], []
    for store in task.sources:
        folder = store.root / name
        if folder.is_dir():
            if reason := _unfinished(store, folder):
                reasons.append(reason)
            else:
                runs.append(_stored(store, folder))
    if not runs:
        return MergedRun(name, "unfinished", "; ".join(reasons))
    own = _stored(task.target, here) if (here / "record.json").exists() else None
    if own is None and (here / "last.pt").exists():
        return MergedRun(
            name, "unfinished", f"half trained in {task.target.root}; finish it there, or delete the folder"
        )
    every = runs if own is None else [own, *runs]
    if conflicts := [text for one, other in combinations(every, 2) for text in differences(one, other)]:
        more = f"; and {len(conflicts) - NAMED} more" if len(conflicts) > NAMED else ""
        return MergedRun(name, "conflict", "; ".join(conflicts[:NAMED]) + more)
    files = [each for run in runs for each in _files(run.folder, here, task.checkpoints)]
    changed = _write(every, own, files, here, task)
    return MergedRun(name, "copied" if own is None else "completed" if changed or files else "same")


def _unfinished(store: ResultStore, folder: Path) -> str:
    """Return why the run in ``folder`` is not merged, "" if it is finished."""
    if not deletion.within(store.root, folder):
        return f"a link in {store.root}, which is not followed"
    if locks.is_locked(folder):
        return f"a process works on it in {store.root}"
    return "" if (folder / "record.json").exists() else f"not finished in {store.root}"


def _stored(store: ResultStore, folder: Path) -> FinishedRun:
    """Return the finished run in ``folder``. Raises StoreError for a damaged one."""
    record = store.read_at(folder / "record.json")
    if record is None:
        raise StoreError(f"{folder}: its record has just been removed; merge again")
    if (name := store.folder(record.run).name) != folder.name:
        raise StoreError(f"{folder}: its record is of the run {name}; rename the folder to that")
    return FinishedRun(folder, record, store.images_at(folder / "per_image.npz"))


def _files(source: Path, target: Path, checkpoints: bool) -> list[tuple[Path, Path]]:
    """Return the snapshots, and checkpoints, that ``target`` lacks: from, to."""
    patterns = (*snapshots.FILES, *(PATTERNS if checkpoints else ()))
    paths = [path for pattern in patterns for path in sorted(source.glob(pattern))]
    pairs = [(path, target / path.relative_to(source)) for path in paths]
    return [(path, to) for path, to in pairs if not to.exists() and deletion.within(source, path) and path.is_file()]


def _write(
    every: Sequence[FinishedRun], own: FinishedRun | None, files: Sequence[tuple[Path, Path]], here: Path, task: _Merge
) -> bool:
    """Write what ``own``, the run of the target, lacks.

    Return whether it lacks a record, values or arrays.

    A record that nothing is added to is copied byte by byte, whatever version has written it.
    """
    first = every[0]
    names, fields = _values(first.record).keys(), first.record.unknown.keys()
    added = any(_values(run.record).keys() - names or run.record.unknown.keys() - fields for run in every[1:])
    images = {name: array for run in reversed(every) for name, array in run.images.items()}
    more_images = images.keys() != (own.images.keys() if own else set())
    changed = own is None or added or more_images
    if task.dry_run:
        return changed
    for source, to in files:
        if not to.exists():  # two sources may have it
            stored_files.copy_atomically(source, to)
    if more_images:
        task.target.write_images(first.record.run, images)
    if added:
        for run in every[1:]:
            first.record.add_missing(run.record)
        task.target.write(first.record)
    elif own is None:
        stored_files.copy_atomically(first.folder / "record.json", here / "record.json")
        task.target.forget_failure(first.record.run)
    return changed


def _external(task: _Merge) -> Iterator[MergedRun]:
    """Merge the external rows of all sources, one after the other."""
    for store in task.sources:
        for folder in external_rows.folders(store):
            try:
                if not deletion.within(store.root, folder):
                    yield MergedRun(folder.name, "unfinished", f"a link in {store.root}, which is not followed")
                else:
                    yield _merged_external(task, store, folder)
            except Unwritable:
                raise
            except (StoreError, ValueError) as error:
                yield MergedRun(folder.name, "unreadable", str(error))


def _merged_external(task: _Merge, store: ResultStore, folder: Path) -> MergedRun:
    """Merge one external row, or with ``dry_run`` say what would become of it."""
    record = external_rows.read_at(folder)
    images = external_rows.images_at(store, folder)
    name, here = record.folder_name, external_rows.folder_of(task.target, record)
    if os.path.lexists(here) and not here.is_dir():
        return MergedRun(name, "unreadable", f"{here}: {NO_FOLDER}")
    if rival := external_rows.rival(task.target, record):
        row = f"the row {record.label!r} of {record.suite}"
        about = f"{row} is {rival.folder_name} in {task.target.root}, of other reconstructions or codes"
        return MergedRun(name, "conflict", about)
    if not (here / external_rows.FILE).exists():
        if not task.dry_run:
            external_rows.write(task.target, record, images)
        return MergedRun(name, "copied")
    own = external_rows.read_at(here)
    if different := external_record.differences(own.values, record.values):
        about = f"{', '.join(different[:NAMED])} differ between {store.root} and {task.target.root}"
        return MergedRun(name, "conflict", about)
    if not own.add_missing(record):
        return MergedRun(name, "same")
    if not task.dry_run:
        external_rows.write(task.target, own, {**images, **external_rows.images_at(task.target, here)})
    return MergedRun(name, "completed")


def _suites(task: _Merge) -> Iterator[MergedRun]:
    """Copy the resolved suites that the target lacks; they only save time."""
    for store in task.sources:
        for path in sorted((store.root / "suites").glob("*.json")):
            to = task.target.root / "suites" / path.name
            name = f"suites/{path.name}"
            if to.exists() or not deletion.within(store.root, path):
                continue
            try:
                stored_files.json_of(path)
            except (OSError, ValueError, StoreError) as error:
                yield MergedRun(name, "unreadable", f"{path}: not a resolved suite ({error})")
                continue
            if not task.dry_run:
                stored_files.copy_atomically(path, to)


def _values(record: Record) -> dict[str, Value]:
    return {
        f"{protocol}/{name}": value for protocol, metrics in record.values.items() for name, value in metrics.items()
    }


def _exact(value: Value) -> str:
    """Return all that must be equal of a value; NaN is equal to NaN."""
    return repr((value.value, value.metric_version, value.protocol_version, value.images))


def _shown(value: Value, other: Value) -> str:
    """Write a value, with what else differs from the ``other``."""
    if repr(value.value) != repr(other.value):
        return repr(value.value)
    versions = f"version {value.metric_version} of the metric, {value.protocol_version} of the protocol"
    return f"{value.value!r} ({versions}, {value.images:,} images)"
