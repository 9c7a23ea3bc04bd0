"""Copy records, without checkpoints, from a store to published results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqbench.errors import shortened
from vqbench.spec import RunSpec
from vqbench.store import snapshots
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore


@dataclass(frozen=True)
class PublishedRecords:
    """What :func:`publish` copied, and what it could not."""

    runs: Sequence[RunSpec]  # whose records were copied
    replaced: Sequence[str]  # one sentence per published record that lost values
    too_large: Sequence[Path]  # files for pages that were left out
    damage: Sequence[str]  # one sentence per file that could not be read


def publish(runs: Iterable[RunSpec], source: ResultStore, target: ResultStore) -> PublishedRecords:
    """Copy the records of the finished runs among ``runs`` to ``target``.

    Their per-image values and files for pages are copied, too. Published values that a record lacks are kept where both
    are of the same weights.
    """
    published, replaced, too_large = [], [], []
    for run in runs:
        if run not in source:
            continue
        record, images = source.sound(run), source.images(run)
        if record is None or source.folder(run) / "per_image.npz" in source.damage:
            continue
        if lost := take_over(record, target):
            replaced.append(lost)
        if images:
            target.write_images(run, images)
        too_large += snapshots.copy(source.folder(run), target.folder(run))
        target.write(record)
        published.append(run)
    return PublishedRecords(published, replaced, too_large, list(source.damage.values()))


def take_over(record: Record, target: ResultStore) -> str | None:
    """Add the values and fields of the published record that ``record`` lacks.

    This needs both to be of the same weights. Both are of the same weights if every value that both have is equal to
    the last digit. Otherwise the published values and per-image values are dropped, and the returned sentence lists
    them.
    """
    old = target.sound(record.run)
    if old is None:
        return None
    new, before = _values(record), _values(old)
    shared = new.keys() & before.keys()
    if shared and all(new[name] == before[name] for name in shared):
        record.add_missing(old)
        return None
    (target.folder(record.run) / "per_image.npz").unlink(missing_ok=True)
    lost = ", ".join(f"{metric} under {protocol}" for protocol, metric in sorted(before.keys() - new.keys()))
    if not lost:
        return None
    return (
        f"{target.folder(record.run)}: the published record was of other weights and is replaced, with values that the "
        f"new one lacks ({shortened(lost, 120)}); measure them with `vqbench run ... --metrics`, and publish again"
    )


def _values(record: Record) -> dict[tuple[str, str], Value]:
    return {(protocol, name): value for protocol, metrics in record.values.items() for name, value in metrics.items()}
