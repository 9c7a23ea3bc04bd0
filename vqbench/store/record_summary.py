"""What planning needs of a record: its run, versions of its values, and times.

No summary has a measured number, so that nothing that shows one can take it from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqbench.spec import RunSpec
from vqbench.store.record import Record, Versions

DEVICE = ("device", "threads", "cpu")  # of the provenance of a training or evaluation


@dataclass(frozen=True)
class RecordSummary:
    """What planning needs of one record."""

    run: RunSpec
    values: Mapping[str, Mapping[str, Versions]]  # by protocol, then by metric
    seconds: float  # of the training
    trained: Mapping[str, Any]  # device of the training, and its threads, if known
    measured: Sequence[tuple[Mapping[str, Any], float]]  # of each evaluation: device and metrics, and its seconds

    @classmethod
    def of(cls, record: Record) -> RecordSummary:
        """Return the summary of ``record``."""
        values = {
            protocol: {name: Versions(value.metric_version, value.protocol_version) for name, value in metrics.items()}
            for protocol, metrics in record.values.items()
        }
        measured = [
            ({**_device(each), "metrics": each["metrics"]}, each["seconds"]) for each in record.made.get("measured", ())
        ]
        return cls(record.run, values, record.made["seconds"], _device(record.made), measured)


def _device(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {name: provenance[name] for name in DEVICE if name in provenance}
