"""Check that a results folder is whole: its records, folders and arrays.

Nothing is written, and links are not followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from vqbench.errors import StoreError, counted
from vqbench.store import external_rows, snapshots
from vqbench.store.deletion import RUN_FOLDER, within
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore
from vqbench.system import locks
from vqbench.system.stored_files import half_written

Values = Mapping[str, Mapping[str, Value]]  # by protocol, then by metric
CLOSE = 1e-5  # relative: a record's value against the mean of its per-image values, which are float32
NO_FOLDER = "has the name of a run or row, but is no folder; remove it"
BEGUN = ("last.pt", "failed.json")  # a run without a record that has one of these has not finished, or has failed


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a file or folder of a results folder."""

    path: Path
    about: str

    def __str__(self) -> str:
        return f"{self.path}: {self.about}"


@dataclass
class Verification:
    """What :func:`verify` has looked at, and what is wrong with it."""

    records: int = 0
    values: int = 0
    arrays: int = 0
    snapshots: int = 0
    external: int = 0  # rows that were not trained here
    unfinished: list[Path] = field(default_factory=list)  # folders of runs that have no record yet
    problems: list[Fault] = field(default_factory=list)


def verify(store: ResultStore) -> Verification:
    """Check every run of ``store``; what is wrong is in the returned problems.

    A record must have its schema, its digest, the key that is the hash of its run, and a folder of its name. Per-image
    values must exist for every metric that any run of the store has them of, be as many as the record says, and have
    the record's value as their mean; the same holds for external rows. Snapshots must be readable. The first stage of
    a second one must have a record.
    """
    found = Verification()
    records: dict[Path, Record] = {}
    images: dict[Path, Mapping[str, np.ndarray]] = {}
    for folder in run_folders(store):
        if not within(store.root, folder):
            found.problems.append(Fault(folder, "a link, which is not followed; put the folder itself here"))
        elif not (folder / "record.json").exists():
            _unfinished(folder, found)
        elif (record := _record(store, folder, found)) is not None:
            records[folder] = record
            _snapshots(folder, found)
            path = folder / "per_image.npz"
            if (arrays := _arrays(path, found, partial(store.images_at, path))) is not None:
                images[folder] = arrays
    per_image = {each for folder in images for each in _measured(records[folder].values, images[folder])}
    found.problems += [Fault(path, NO_FOLDER) for path in no_folders(store)]
    keys = {record.run.key for record in records.values()}
    for folder, record in records.items():
        if folder in images:
            found.problems += _images(folder / "per_image.npz", record.values, images[folder], per_image)
        if record.run.parent is not None and record.run.parent not in keys:
            about = f"its first stage, {record.run.parent}, has no sound record here; copy that one, too"
            found.problems.append(Fault(folder, about))
    _external(store, per_image, found)
    return found


def run_folders(store: ResultStore) -> list[Path]:
    """Return the folders of ``store`` that have a record or the name of a run."""
    try:
        folders = [path for path in store.root.iterdir() if path.is_dir()]
    except OSError as error:
        raise StoreError(f"{store.root}: cannot be read ({error.strerror or error})") from error
    return sorted(path for path in folders if RUN_FOLDER.fullmatch(path.name) or (path / "record.json").exists())


def no_folders(store: ResultStore) -> list[Path]:
    """Return what has the name of a run in ``store``, but is no folder."""
    return sorted(path for path in store.root.iterdir() if RUN_FOLDER.fullmatch(path.name) and not path.is_dir())


def _unfinished(folder: Path, found: Verification) -> None:
    """Note a run without a record, which may be under way or have lost it."""
    begun = any((folder / name).exists() for name in BEGUN) or locks.is_locked(folder) or half_written(folder)
    if begun or not any(folder.glob("*.npz")):
        found.unfinished.append(folder)
    else:
        found.problems.append(Fault(folder, "has arrays but no record.json; restore it, or delete the folder"))


def _record(store: ResultStore, folder: Path, found: Verification) -> Record | None:
    """Return the record of ``folder`` if it is sound and its folder's name is right."""
    path = folder / "record.json"
    try:
        record = store.read_at(path)
    except StoreError as error:
        found.problems.append(Fault(path, str(error).removeprefix(f"{path}: ")))
        return None
    if record is None:  # removed just now
        return None
    found.records += 1
    found.values += sum(map(len, record.values.values()))
    name = store.folder(record.run).name
    if folder.name != name:
        found.problems.append(Fault(folder, f"its record is of the run {name}; rename the folder to that"))
    return record


def _external(store: ResultStore, per_image: set[tuple[str, int]], found: Verification) -> None:
    """Check every external row: record, name of its folder, values per image."""
    for folder in external_rows.begun(store):
        if folder.is_dir():
            found.unfinished.append(folder)
        else:
            found.problems.append(Fault(folder, NO_FOLDER))
    for folder in external_rows.folders(store):
        path = folder / external_rows.FILE
        if not within(store.root, folder):
            found.problems.append(Fault(folder, "a link, which is not followed; put the folder itself here"))
            continue
        try:
            record = external_rows.read_at(folder)
        except StoreError as error:
            found.problems.append(Fault(path, str(error).removeprefix(f"{path}: ")))
            continue
        found.external += 1
        found.values += sum(map(len, record.values.values()))
        if folder.name != record.folder_name:
            about = f"its record is of the row {record.folder_name}; rename the folder to that"
            found.problems.append(Fault(folder, about))
        read = partial(external_rows.images_at, store, folder)
        if (arrays := _arrays(folder / external_rows.PER_IMAGE, found, read)) is not None:
            own = {*_measured(record.values, arrays), *per_image}
            found.problems += _images(folder / external_rows.PER_IMAGE, record.values, arrays, own)


def _arrays(
    path: Path, found: Verification, read: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray] | None:
    """Return the per-image values of ``path``, or None if they cannot be read."""
    try:
        arrays = read()
    except StoreError as error:
        found.problems.append(Fault(path, str(error).removeprefix(f"{path}: ")))
        return None
    found.arrays += len(arrays)
    return arrays


def _snapshots(folder: Path, found: Verification) -> None:
    for name, read in (
        (snapshots.USAGE_FILE, snapshots.read_usage),
        (snapshots.SNAPSHOT_FILE, snapshots.read_snapshot),
        (snapshots.SAMPLES_FILE, snapshots.read_samples),
    ):
        try:
            found.snapshots += read(folder) is not None
        except StoreError as error:
            found.problems.append(Fault(folder / name, str(error).removeprefix(f"{folder / name}: ")))


def _measured(values: Values, images: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield metric and version of every array that has one of the ``values``."""
    for name in images:
        protocol, _, metric = name.rpartition("/")
        if (value := values.get(protocol, {}).get(metric)) is not None:
            yield metric, value.metric_version


def _images(
    path: Path, values: Values, images: Mapping[str, np.ndarray], per_image: set[tuple[str, int]]
) -> Iterator[Fault]:
    """Yield what is wrong with per-image values beside the ``values`` of a record."""
    missing = []
    for protocol, metrics in values.items():
        for metric, value in metrics.items():
            name = f"{protocol}/{metric}"
            if name not in images:
                missing += [name] if (metric, value.metric_version) in per_image and value.value is not None else []
            elif len(images[name]) != value.images:
                counts = f"{counted(len(images[name]), 'value')} of {name}"
                yield Fault(path, f"has {counts}, but the record counts {counted(value.images, 'image')}")
            elif value.value is None or not is_mean(value.value, images[name]):
                mean = f"the mean of {name} is {_mean(images[name])!r}"
                yield Fault(path, f"{mean}, but the record's value is {value.value!r}; one of them was changed")
    if missing:
        yield Fault(path, f"has no values of {', '.join(missing)}, which other runs have; restore the file")


def is_mean(value: float, images: np.ndarray) -> bool:
    """Return whether ``value`` is the mean of ``images``, (N,), to float32.

    >>> is_mean(0.5, np.array([0.25, 0.75])), is_mean(0.51, np.array([0.25, 0.75]))
    (True, False)
    """
    mean = _mean(images)
    return (math.isnan(mean) and math.isnan(value)) or math.isclose(mean, value, rel_tol=CLOSE, abs_tol=1e-9)


def _mean(images: np.ndarray) -> float:
    return float(np.mean(images, dtype=np.float64)) if len(images) else math.nan
