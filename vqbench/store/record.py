"""Records of runs: what ``record.json`` and ``failed.json`` hold, written to JSON and read from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vqbench.errors import StoreError
from vqbench.spec import RunSpec
from vqbench.store import schema
from vqbench.system import reading

FORMAT = 1  # raised when the layout of record.json changes
LOG_LINES = 12  # of a failed run, kept with the reason


@dataclass
class Value:
    """One measured number, and which state of the metric's and the protocol's code measured it."""

    value: float | None  # None where the metric says nothing about such a run
    metric_version: int
    protocol_version: int
    images: int  # how many images were counted


@dataclass
class Record:
    """What is known of one finished run."""

    run: RunSpec
    values: dict[str, dict[str, Value]]  # protocol -> metric -> value
    made: dict[str, Any]  # by which commit, versions, device, in how many seconds; "measured": likewise, each time
    history: list[dict[str, Any]] = field(default_factory=list)  # one mapping an epoch

    def to_json(self) -> str:
        """The record as JSON. Raises ValueError for what could not be read again."""
        content: dict[str, Any] = json_safe(
            {
                "format": FORMAT,
                "key": self.run.key,
                "run": self.run.to_dict(),
                "values": {p: {m: asdict(v) for m, v in metrics.items()} for p, metrics in self.values.items()},
                "made": self.made,
                "history": self.history,
            }
        )
        schema.record(content)
        content["digest"] = _digest(content)
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """The record that :meth:`to_json` wrote. Raises ValueError for anything else."""
        return cls._from(reading.json_from(text.encode() if isinstance(text, str) else text))

    @classmethod
    def _from(cls, content: Any) -> Record:
        if schema.mapping(content, "it").get("format") != FORMAT:
            raise ValueError(f"format {content.get('format')!r:.40}, this version reads {FORMAT}")
        if content.pop("digest", None) not in (None, _digest(content)):  # the first records were written without one
            raise ValueError("its content does not fit its digest")
        schema.record(content)
        try:
            run = RunSpec.from_dict(content["run"])
        except StoreError as error:
            raise ValueError(str(error)) from error
        if content["key"] != run.key:
            raise ValueError(f"its key is {content['key']!r:.40}, but its run has {run.key}")
        values = {p: {m: cls._value(v) for m, v in metrics.items()} for p, metrics in content["values"].items()}
        history = [{name: _numeric(value) for name, value in epoch.items()} for epoch in content["history"]]
        return cls(run, values, _filled(content["made"]), history)

    @staticmethod
    def _value(written: dict[str, Any]) -> Value:
        return Value(**{**written, "value": _numeric(written["value"])})


@dataclass(frozen=True)
class Failure:
    """Why a run did not finish."""

    reason: str
    log: list[str]


def lacking(record: Record | None, wanted: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, list[str]]:
    """Which of the ``wanted`` numbers (protocol -> metric -> (metric's, protocol's version)) a record does not hold."""
    values = record.values if record else {}
    missing: dict[str, list[str]] = {}
    for protocol, metrics in wanted.items():
        for metric, versions in metrics.items():
            value = values.get(protocol, {}).get(metric)
            if value is None or (value.metric_version, value.protocol_version) != versions:
                missing.setdefault(protocol, []).append(metric)
    return missing


def json_safe(value: Any) -> Any:
    """``value`` as JSON can hold it: numbers that JSON lacks become words, and those of numpy and torch plain ones."""
    if isinstance(value, Mapping):
        return {str(name): json_safe(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value


def _numeric(value: Any) -> Any:
    """The inverse of :func:`json_safe` for one number."""
    return float(value) if value in schema.WORDS else value


def _filled(made: dict[str, Any]) -> dict[str, Any]:
    """``made`` with a word in the place of what tables show and a record written by hand may lack."""
    unknown = {"commit": None, "device": "unknown device", "threads": 0, "date": ""}
    filled = {**unknown, **made}
    filled["versions"] = {"torch": "unknown", **made.get("versions", {})}
    if "measured" in made:
        filled["measured"] = [{**unknown, **each} for each in made["measured"]]
    return filled


def _digest(content: dict[str, Any]) -> str:
    """Sha256 of the rest of a record, by which a changed one is known."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
