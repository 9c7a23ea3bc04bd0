"""Records of runs: read and write ``record.json``.

A record's ``format`` is a number that is raised only when an older vqbench could misread a new record. Every format
that was ever published is read forever (``tests/store/kept``). A field that is merely added raises nothing: fields
unknown to this version are kept, and written back with the record.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

from vqbench.errors import StoreError
from vqbench.spec import RunSpec
from vqbench.store import schema
from vqbench.system import stored_files

FORMAT = 1  # of record.json; a record without a format is of the first
LOG_LINES = 12  # of a failed run, kept with the reason


class NewerFormat(StoreError):
    """A record that a later vqbench wrote, in a format that this one cannot read."""


@dataclass
class Value:
    """One measured number, with its metric's and its protocol's version."""

    value: float | None  # None where the metric does not apply to the run
    metric_version: int
    protocol_version: int
    images: int  # number of images counted
    unknown: dict[str, Any] = field(default_factory=dict, compare=False)  # fields that a later version wrote, as read

    def to_dict(self) -> dict[str, Any]:
        """Return the value as JSON."""
        content = asdict(self)
        return {**content.pop("unknown"), **content}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Value:
        """Return the value that :meth:`to_dict` wrote; its content is checked already."""
        known, unknown = split_fields(content, schema.VALUE)
        return cls(**{**known, "value": _numeric(known["value"])}, unknown=unknown)


@dataclass
class Record:
    """One finished run: arguments, values, provenance and history.

    ``values`` are by protocol, then by metric. ``made`` is the provenance: commit, library versions, device, date and
    seconds of the training; its list ``measured`` has the same of each evaluation. ``history`` has one mapping per
    epoch. ``unknown`` are top-level fields that a later version wrote, as they were read.
    """

    run: RunSpec
    values: dict[str, dict[str, Value]]
    made: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    unknown: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as JSON.

        Raises ValueError for content that could not be read again.
        """
        content = json_safe(
            {
                **self.unknown,
                "format": FORMAT,
                "key": self.run.key,
                "run": self.run.to_dict(),
                "values": {p: {m: v.to_dict() for m, v in metrics.items()} for p, metrics in self.values.items()},
                "made": self.made,
                "history": self.history,
            }
        )
        schema.record(content)
        content["digest"] = content_digest(content)
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """Return the record that :meth:`to_json` wrote.

        Raises ValueError for anything else, and NewerFormat for a record of a later format.
        """
        return cls.from_content(stored_files.json_from(text.encode() if isinstance(text, str) else text))

    @classmethod
    def from_content(cls, content: Any) -> Record:
        """Return the record of parsed JSON. Raises as :meth:`from_json` does."""
        content = dict(schema.mapping(content, "it"))
        digest = content.pop("digest", None)
        if digest not in (None, content_digest(content)):
            raise ValueError("its content does not fit its digest")
        number = content.setdefault("format", 1)
        schema.whole(number, "format")
        if number > FORMAT:
            raise NewerFormat(f"its format is {number}, this vqbench reads formats up to {FORMAT}; upgrade vqbench")
        schema.record(content, exact=digest is None)  # the first records had no digest, and no further fields either
        try:
            run = RunSpec.from_dict(content["run"])
        except StoreError as error:
            raise ValueError(str(error)) from error
        if content["key"] != run.key:
            raise ValueError(f"its key is {content['key']!r:.40}, but its run has {run.key}")
        history = [{name: _numeric(value) for name, value in epoch.items()} for epoch in content["history"]]
        return cls(
            run,
            values_from(content["values"]),
            _filled(content["made"]),
            history,
            split_fields(content, schema.RECORD)[1],
        )

    def add_missing(self, other: Record) -> None:
        """Add the values, evaluations and fields that this record lacks.

        ``other`` is a record of the same weights.
        """
        for protocol, metrics in other.values.items():
            self.values[protocol] = {**metrics, **self.values.get(protocol, {})}
        self.unknown = {**other.unknown, **self.unknown}
        own = self.made.get("measured", [])
        if further := [each for each in other.made.get("measured", []) if each not in own]:
            self.made["measured"] = [*further, *own]


@dataclass(frozen=True)
class Failure:
    """The reason why a run did not finish, and the last lines of its log."""

    reason: str
    log: list[str]


class Versions(NamedTuple):
    """The versions that a value was measured with."""

    metric_version: int
    protocol_version: int


class Measured(Protocol):
    """A record, or what is known of one."""

    @property
    def values(self) -> Mapping[str, Mapping[str, Value | Versions]]:
        """By protocol, then by metric."""


def lacking(record: Measured | None, wanted: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, list[str]]:
    """Return the metrics, by protocol, that ``record`` lacks in these versions.

    ``wanted`` maps protocol -> metric -> (the metric's version, the protocol's version).
    """
    values = record.values if record else {}
    missing: dict[str, list[str]] = {}
    for protocol, metrics in wanted.items():
        for metric, versions in metrics.items():
            value = values.get(protocol, {}).get(metric)
            if value is None or (value.metric_version, value.protocol_version) != versions:
                missing.setdefault(protocol, []).append(metric)
    return missing


def json_safe(value: Any) -> Any:
    """Return ``value`` as JSON can represent it.

    Numbers that JSON lacks become the words "nan", "inf" and "-inf", scalars of numpy and torch plain numbers.
    """
    if isinstance(value, Mapping):
        return {str(name): json_safe(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value


def _numeric(value: Any) -> Any:
    """Invert :func:`json_safe` for one number."""
    return float(value) if value in schema.WORDS else value


def _filled(made: dict[str, Any]) -> dict[str, Any]:
    """Fill in placeholders for provenance that tables show.

    A record written by hand may lack it.
    """
    placeholders = {"commit": None, "device": "unknown device", "threads": 0, "date": ""}
    filled = {**placeholders, **made}
    filled["versions"] = {"torch": "unknown", **made.get("versions", {})}
    if "measured" in made:
        filled["measured"] = [{**placeholders, **each} for each in made["measured"]]
    return filled


def values_from(content: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Value]]:
    """Return values by protocol and metric, from JSON data that is checked already."""
    return {protocol: {m: Value.from_dict(v) for m, v in metrics.items()} for protocol, metrics in content.items()}


def content_digest(content: dict[str, Any]) -> str:
    """Return the sha256 of a record's content without its digest."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def split_fields(content: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of ``content`` that are known, and the others."""
    return (
        {name: value for name, value in content.items() if name in known},
        {name: value for name, value in content.items() if name not in known},
    )
