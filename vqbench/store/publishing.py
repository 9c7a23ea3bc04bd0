"""Merge a published record into the one that is published in its place."""

from __future__ import annotations

from vqbench.errors import shortened
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore


def take_over(record: Record, target: ResultStore) -> str | None:
    """Add what ``record`` lacks of the published record of the same weights.

    That is values and fields.

    Both are of the same weights if every value that both have is equal to the last digit. Otherwise the published
    values and per-image values are dropped, and the returned sentence lists them.
    """
    old = target.sound(record.run)
    if old is None:
        return None
    new, before = _values(record), _values(old)
    shared = new.keys() & before.keys()
    if shared and all(new[name] == before[name] for name in shared):
        for protocol, metric in sorted(before.keys() - new.keys()):
            record.values.setdefault(protocol, {})[metric] = before[protocol, metric]
        record.unknown = {**old.unknown, **record.unknown}
        measured = [each for each in old.made.get("measured", []) if each not in record.made.get("measured", [])]
        record.made["measured"] = [*measured, *record.made.get("measured", [])]
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
