"""From what was measured to the record of an external row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqbench import registry

if TYPE_CHECKING:
    from vqbench.api.evaluation import Evaluation
    from vqbench.api.external_rows.row import ExternalRow
    from vqbench.measuring.known_images import KnownImages
    from vqbench.measuring.models.model_inputs import ModelInputs
    from vqbench.measuring.pair_inputs import PairInputs
    from vqbench.store.external_record import ExternalRecord
    from vqbench.store.record import Value

BITS = "bits"  # the metric of a rate


@dataclass(frozen=True)
class MeasuredRow:
    """A measured row: its inputs, values and digests, and which test images they are."""

    row: ExternalRow
    inputs: PairInputs | ModelInputs
    evaluation: Evaluation
    digests: np.ndarray  # (N, bytes) uint8 of each pair: original, reconstruction and, if any, codes
    known: KnownImages
    rate: Mapping[str, Any] | None = None  # of reconstructions without codes: bits_per_image, and how it was counted

    def record(self, device: str) -> ExternalRecord:
        """Return what is stored of it."""
        from vqbench.measuring.image_digests import SIZE
        from vqbench.store.external_record import ExternalRecord
        from vqbench.system.provenance import current_provenance
        from vqbench.training.engine import devices_of

        about = self.evaluation.about
        given: dict[str, Any] = {name: _side(about[name]) for name in ("originals", "reconstructions")}
        given |= {"pairs": self.known.digest(self.digests[:, : 2 * SIZE]), "codes": self._codes()}
        given |= {"matched_by": self.inputs.matched.by}
        if model := about.get("model"):
            given["model"] = {**model, "name": Path(model["name"]).name}
        if self.rate is not None:
            given["rate"] = dict(self.rate)
        by = {"by": self.row.measured_by} if self.row.measured_by else {}
        return ExternalRecord(
            label=self.row.label,
            suite=self.row.suite,
            dataset=self.row.dataset(self.known.dataset),
            images=len(self.known.places),
            given=given,
            values=_with_bits(_values(self.evaluation, self.known), self.rate),
            made={**current_provenance(devices_of(device, 1)[0]), **by},
        )

    def images(self) -> dict[str, np.ndarray]:
        """Return values per image, (N,) by "protocol/metric".

        They are in the order of the test images.
        """
        images = {}
        for protocol, frame in self.evaluation.per_image.groupby("protocol", sort=False):
            for metric in [name for name in frame.columns if name not in ("protocol", "image", "name")]:
                values = np.empty(len(self.known.places), np.float32)
                values[self.known.places] = frame[metric].to_numpy()
                images[f"{_name(str(protocol), self.known)}/{metric}"] = values
        return images

    def _codes(self) -> dict[str, Any] | None:
        """Return facts about the codes; every code costs the same bits."""
        from vqbench.measuring.image_digests import SIZE

        if self.inputs.codes is None:
            return None
        return {
            "num_codes": self.inputs.num_codes,
            "depth": self.inputs.depth,
            "digest": self.known.digest(self.digests[:, 2 * SIZE :]),
            "bits_per_image": self.inputs.bits_per_image,
        }


def _side(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given of one side, without the folders of this machine."""
    return {"name": Path(about["path"]).name, **{name: about[name] for name in ("kind", "images", "digest")}}


def _values(evaluation: Evaluation, known: KnownImages) -> dict[str, dict[str, Value]]:
    from vqbench.store.record import Value

    values: dict[str, dict[str, Value]] = {}
    for each in evaluation.values.to_dict("records"):
        value = None if isnan(each["value"]) else float(each["value"])
        versions = int(each["metric_version"]), int(each["protocol_version"])
        name = _name(each["protocol"], known)
        values.setdefault(name, {})[each["metric"]] = Value(value, *versions, int(each["images"]))
    return values


def _with_bits(values: dict[str, dict[str, Value]], rate: Mapping[str, Any] | None) -> dict[str, dict[str, Value]]:
    """Add the rate of reconstructions without codes as the metric ``bits``."""
    from vqbench.store.record import Value

    if rate is not None:
        for metrics in values.values():
            one = next(iter(metrics.values()))
            version = registry.version("metrics", BITS)
            metrics[BITS] = Value(float(rate["bits_per_image"]), version, one.protocol_version, one.images)
    return values


def _name(protocol: str, known: KnownImages) -> str:
    """Return the name that values of a run on these images are stored under."""
    from vqbench.store.value_name import ValueName

    return str(ValueName(protocol, None if known.every else len(known.places)))
