"""External rows in a results folder: write, read and publish them.

``ROOT/external-LABEL-KEY/`` has ``external.json``, written last, and ``per_image.npz``, whose arrays are in the order
of the test images, as those of runs are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vqbench.errors import Damaged, StoreError, UsageError
from vqbench.store.external_record import ExternalRecord
from vqbench.store.record import NewerFormat
from vqbench.store.results import ResultStore
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

FILE, PER_IMAGE = "external.json", "per_image.npz"


def folders(store: ResultStore) -> list[Path]:
    """Return the folders of external rows in ``store``, by name."""
    return sorted(path for path in store.root.glob("external-*") if (path / FILE).exists())


def begun(store: ResultStore) -> list[Path]:
    """Return folders of rows without a record, and files in place of such folders."""
    return sorted(path for path in store.root.glob("external-*") if not (path / FILE).exists())


def folder_of(store: ResultStore, record: ExternalRecord) -> Path:
    """Return the folder of ``record``, which need not exist."""
    return store.root / record.folder_name


def read_at(folder: Path) -> ExternalRecord:
    """Return the record in ``folder``. Raises StoreError."""
    path = folder / FILE
    try:
        return ExternalRecord.from_content(stored_files.json_of(path))
    except FileNotFoundError:
        raise StoreError(f"{path}: does not exist any more") from None
    except NewerFormat as error:
        raise NewerFormat(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise Damaged(
            f"{path}: not a record of an external row ({error}); delete its folder and measure again"
        ) from error


def images_at(store: ResultStore, folder: Path) -> dict[str, np.ndarray]:
    """Return values per image in ``folder``, (N,) by "protocol/metric".

    Raises StoreError.
    """
    path = folder / PER_IMAGE
    try:
        return store.images_at(path)
    except Damaged as error:
        raise Damaged(
            f"{path}: not values per image ({_reason(error)}); delete its folder and measure again"
        ) from error


def _reason(error: Damaged) -> str:
    """Return why a file is damaged, without its path and what helps a run."""
    return str(error.__cause__ or error)


def external_records(store: ResultStore) -> Iterator[ExternalRecord]:
    """Yield the readable records of ``store``; others are noted in its damage."""
    for folder in folders(store):
        try:
            yield read_at(folder)
        except StoreError as error:
            store.damage[folder / FILE] = str(error)


def images_of(store: ResultStore, record: ExternalRecord) -> dict[str, np.ndarray]:
    """Return values per image, (N,) by "protocol/metric".

    None are returned if they cannot be read; the damage is noted in ``store``.
    """
    folder = folder_of(store, record)
    try:
        return images_at(store, folder)
    except StoreError as error:
        store.damage[folder / PER_IMAGE] = str(error)
        return {}


def rival(store: ResultStore, record: ExternalRecord) -> ExternalRecord | None:
    """Return the record of a row of the same name with other images, or None."""
    others = (each for each in external_records(store) if each.place == record.place and each.key != record.key)
    return next(others, None)


def exists_already(store: ResultStore, other: ExternalRecord) -> UsageError:
    """Return the error for a row whose name ``other`` has, with other images."""
    return UsageError(
        f"{folder_of(store, other)}: the row {other.label!r} of {other.suite}, of other reconstructions or codes; "
        "delete this folder, or give another label"
    )


def write(store: ResultStore, record: ExternalRecord, images: Mapping[str, np.ndarray]) -> Path:
    """Store ``record`` and its values per image; return its folder.

    Earlier values of the same images stay, unless they were measured again.

    Raises UsageError where the row exists with other images, Unwritable where the folder cannot be written.
    """
    folder = folder_of(store, record)
    if other := rival(store, record):
        raise exists_already(store, other)
    if (folder / FILE).exists():
        record.add_missing(read_at(folder))
        images = {**images_at(store, folder), **images}
    if images:
        store.write_images_at(folder / PER_IMAGE, images)
    write_atomically(folder / FILE, record.to_json().encode())
    return folder


def publish(suite: str, source: ResultStore, target: ResultStore) -> Sequence[ExternalRecord]:
    """Copy the external rows of ``suite`` from ``source`` to ``target``.

    Damaged ones are not copied, but noted in ``source``.

    Raises UsageError where ``target`` has a row of the same name with other images.
    """
    published = []
    for record in external_records(source):
        if record.suite != suite:
            continue
        images = images_of(source, record)
        if folder_of(source, record) / PER_IMAGE not in source.damage:
            write(target, record, images)
            published.append(record)
    return published
