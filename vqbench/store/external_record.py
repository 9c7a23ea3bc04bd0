"""Records of external rows: images that vqbench measured and did not train.

Such a record says what was given, by digests of the decoded pixels, and what was measured. It claims nothing about
the training: there is no run, so no key of one. Its own file name and its own folders keep it apart from the records of
runs, whose readers never see it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vqbench.store import schema
from vqbench.store.record import NewerFormat, Value, content_digest, json_safe, split_fields, values_from

FORMAT = 1  # of external.json
DIGITS = 12  # of the key; runs have 16, so that no folder of an external row has the name of one of a run
LONGEST = 40  # letters of a label in a folder's name


@dataclass
class ExternalRecord:
    """One external row on one data set: what was given, and its values.

    ``dataset`` is the data set as runs on it name it: name, version and arguments. ``images`` counts the first test
    images that were given. ``given`` has ``originals`` and ``reconstructions`` (name, kind, images, digest of the
    decoded pixels), ``pairs`` (digest of both in the order of the test images), ``codes`` or None, and ``matched_by``.
    ``values`` are by the names of :class:`~vqbench.store.value_name.ValueName`, then by metric. ``made`` is the
    provenance of the measurement; its ``by`` names a person, if one was named.
    """

    label: str
    suite: str
    dataset: dict[str, Any]
    images: int
    given: dict[str, Any]
    values: dict[str, dict[str, Value]]
    made: dict[str, Any]
    unknown: dict[str, Any] = field(default_factory=dict)  # top-level fields that a later version wrote

    @property
    def key(self) -> str:
        """Hexadecimal digits that change with the row, its images or its codes."""
        codes = self.given["codes"]
        coded = None if codes is None else [codes["num_codes"], codes["digest"]]
        facts = [*self.place, self.given["pairs"], coded]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:DIGITS]

    @property
    def place(self) -> tuple[str, str, str, int]:
        """The row of a table that it is shown as: suite, label, data set and images."""
        return place_of(self.suite, self.label, self.dataset, self.images)

    @property
    def folder_name(self) -> str:
        """The name of its folder, such as ``external-my-vq-0123456789ab``."""
        words = re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")[:LONGEST].strip("-")
        return f"external-{words or 'row'}-{self.key}"

    def to_json(self) -> str:
        """Return the record as JSON.

        Raises ValueError for content that could not be read again.
        """
        content = json_safe(
            {
                **self.unknown,
                "format": FORMAT,
                "key": self.key,
                **{name: getattr(self, name) for name in ("label", "suite", "dataset", "images", "given", "made")},
                "values": {p: {m: v.to_dict() for m, v in metrics.items()} for p, metrics in self.values.items()},
            }
        )
        schema.external(content)
        content["digest"] = content_digest(content)
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_content(cls, content: Any) -> ExternalRecord:
        """Return the record of parsed JSON.

        Raises ValueError for anything else, and NewerFormat for a record of a later format.
        """
        content = dict(schema.mapping(content, "it"))
        if content.pop("digest", None) != content_digest(content):
            raise ValueError("its content does not fit its digest")
        schema.whole(content.get("format"), "format")
        if content["format"] > FORMAT:
            raise NewerFormat(
                f"its format is {content['format']}, this vqbench reads formats up to {FORMAT}; upgrade vqbench"
            )
        schema.external(content)
        known, unknown = split_fields(content, schema.EXTERNAL)
        key = known.pop("key")
        del known["format"]
        record = cls(**{**known, "values": values_from(known["values"])}, unknown=unknown)
        if key != record.key:
            raise ValueError(f"its key is {key!r:.40}, but its content has {record.key}")
        return record

    def add_missing(self, other: ExternalRecord) -> bool:
        """Add the values that this record lacks of ``other``, of the same images.

        Return whether there were any.
        """
        before = sum(map(len, self.values.values()))
        for protocol, metrics in other.values.items():
            self.values[protocol] = {**metrics, **self.values.get(protocol, {})}
        self.unknown = {**other.unknown, **self.unknown}
        return sum(map(len, self.values.values())) > before


def place_of(suite: str, label: str, dataset: Mapping[str, Any], images: int) -> tuple[str, str, str, int]:
    """Return :attr:`ExternalRecord.place` of a row that need not exist."""
    return suite, label, json.dumps(dataset, sort_keys=True), images


def differences(a: Mapping[str, Mapping[str, Value]], b: Mapping[str, Mapping[str, Value]]) -> list[str]:
    """Return the names of values that both have and that are not equal."""
    return [
        f"{protocol}/{metric}"
        for protocol in a.keys() & b.keys()
        for metric in a[protocol].keys() & b[protocol].keys()
        if repr(a[protocol][metric].to_dict()) != repr(b[protocol][metric].to_dict())
    ]
