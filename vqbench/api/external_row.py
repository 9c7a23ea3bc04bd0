"""Store a row that vqbench did not train beside the runs of a suite."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log2, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqbench import registry
from vqbench.errors import UsageError

if TYPE_CHECKING:
    from vqbench.api.evaluation import Evaluation
    from vqbench.measuring.known_images import KnownImages
    from vqbench.measuring.pair_inputs import PairInputs
    from vqbench.planning.plan import Plan
    from vqbench.store.external_record import ExternalRecord
    from vqbench.store.record import Value
    from vqbench.store.results import ResultStore

LONGEST = 60  # letters of a label


@dataclass(frozen=True)
class ExternalRow:
    """A row to store: its name, the suite whose table shows it, and who measured."""

    label: str
    plan: Plan
    measured_by: str = ""

    def __post_init__(self) -> None:
        """Raise UsageError for a label that the table cannot show, or has already."""
        if not self.label.strip() or len(self.label) > LONGEST or not self.label.isprintable():
            raise UsageError(f"--row {self.label!r:.80}: give a label of 1 to {LONGEST} letters on one line")
        if self.label in {entry.label for entry in self.plan.entries}:
            raise UsageError(
                f"--row {self.label!r}: {self.plan.suite.name} trains a row of this label; give another one"
            )

    def protocols(self) -> list[str]:
        """Return the protocols that the suite measures by."""
        return list(self.plan.suite.measure)

    def metrics(self, with_codes: bool) -> list[str]:
        """Return the metrics of the suite that pairs of images have."""
        classes = {name: registry.load("metrics", name) for name in self.plan.metrics}
        return [
            name
            for name, metric in classes.items()
            if not (metric.of_samples or metric.needs_model) and (with_codes or not metric.needs_codes)
        ]

    def datasets(self) -> dict[str, Any]:
        """Return the data sets of the suite by name."""
        parts = {entry.dataset: entry.run.dataset for entry in self.plan.entries}
        return {name: registry.create("datasets", part.name, **part.args) for name, part in parts.items()}


def store_row(
    row: ExternalRow, evaluation: Evaluation, inputs: PairInputs, known: KnownImages, store: ResultStore, device: str
) -> Path:
    """Write the row to ``store`` with the values of ``evaluation``.

    Return its folder.

    Raises UsageError where ``store`` has the row with other images.
    """
    from vqbench.store import external_rows

    record = _record(row, evaluation, inputs, known, device)
    return external_rows.write(store, record, _images(evaluation, known))


def _record(
    row: ExternalRow, evaluation: Evaluation, inputs: PairInputs, known: KnownImages, device: str
) -> ExternalRecord:
    from vqbench.store.external_record import ExternalRecord
    from vqbench.system.provenance import current_provenance
    from vqbench.training.engine import devices_of

    dataset = next(entry.run.dataset for entry in row.plan.entries if entry.dataset == known.dataset)
    sides = {name: _side(evaluation.about[name]) for name in ("originals", "reconstructions")}
    by = {"by": row.measured_by} if row.measured_by else {}
    return ExternalRecord(
        label=row.label,
        suite=row.plan.suite.name_in_file,
        dataset=dataset.to_dict(),
        images=len(known.places),
        given={**sides, "pairs": known.pairs, "codes": _codes(inputs), "matched_by": inputs.matched.by},
        values=_values(evaluation, known),
        made={**current_provenance(devices_of(device, 1)[0]), **by},
    )


def _side(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given of one side, without the folders of this machine."""
    return {"name": Path(about["path"]).name, **{name: about[name] for name in ("kind", "images", "digest")}}


def _codes(inputs: PairInputs) -> dict[str, Any] | None:
    """Return what was given of the codes; every code costs the same bits."""
    if inputs.codes is None:
        return None
    codes, size = inputs.codes.codes, inputs.codes.num_codes  # (N, h, w, depth)
    ordered = np.ascontiguousarray(codes[inputs.code_places].astype(np.int64))
    return {
        "num_codes": size,
        "depth": inputs.depth,
        "digest": hashlib.sha256(ordered.tobytes()).hexdigest(),
        "bits_per_image": prod(codes.shape[1:]) * log2(size),
    }


def _values(evaluation: Evaluation, known: KnownImages) -> dict[str, dict[str, Value]]:
    from vqbench.store.record import Value

    values: dict[str, dict[str, Value]] = {}
    for each in evaluation.values.to_dict("records"):
        value = None if isnan(each["value"]) else float(each["value"])
        versions = int(each["metric_version"]), int(each["protocol_version"])
        name = _name(each["protocol"], known)
        values.setdefault(name, {})[each["metric"]] = Value(value, *versions, int(each["images"]))
    return values


def _images(evaluation: Evaluation, known: KnownImages) -> dict[str, np.ndarray]:
    """Return values per image, (N,) by "protocol/metric".

    They are in the order of the test images.
    """
    images = {}
    for protocol, frame in evaluation.per_image.groupby("protocol", sort=False):
        for metric in [name for name in frame.columns if name not in ("protocol", "image", "name")]:
            values = np.empty(len(known.places), np.float32)
            values[known.places] = frame[metric].to_numpy()
            images[f"{_name(str(protocol), known)}/{metric}"] = values
    return images


def _name(protocol: str, known: KnownImages) -> str:
    """Return the name that values of a run on these images are stored under."""
    from vqbench.store.value_name import ValueName

    return str(ValueName(protocol, None if known.every else len(known.places)))


def measure_row(
    row: ExternalRow, paths: Sequence[Path | None], num_codes: int | None, runs: Path, **settings: Any
) -> tuple[Evaluation, Path]:
    """Measure images and store their values as a row of a suite's table.

    Args:
        row: What the row is called, and where it is shown.
        paths: Of originals, reconstructions and codes; None without codes.
        num_codes: Size of the codebook; None: as the file of codes has it.
        runs: Results folder that the row is written to.
        settings: As :func:`vqbench.api.measure.measure_files` takes them.

    Returns:
        The values, and the folder of the row.

    Raises:
        UsageError: Originals that are no test images of the suite, or inputs that do not fit together.
        AssetError: Files that cannot be read, or weights that cannot be fetched.
    """
    from vqbench.api.measure import measure_files
    from vqbench.measuring.known_images import known_images
    from vqbench.measuring.pair_inputs import PairInputs, ReadingOptions
    from vqbench.store.results import ResultStore

    originals, reconstructions, codes = paths
    if settings.pop("model", None) is not None:
        raise UsageError("--row: of images that exist, not of --model; write its reconstructions to a file, as .npy")
    if originals is None or reconstructions is None:
        raise UsageError("--row: give originals and reconstructions; a row has values of pairs")
    options = settings.get("options") or ReadingOptions()
    for name, given in (("--skip-damaged", options.skip_damaged), ("--as-rgb", options.as_rgb)):
        if given:
            raise UsageError(f"--row: not with {name}, since rows are compared on the same images; leave it out")
    inputs = PairInputs.open(originals, reconstructions, codes, num_codes, options)
    known = known_images(inputs, row.datasets(), settings["progress"])
    settings["protocols"] = settings.get("protocols") or row.protocols()
    settings["metrics"] = settings.get("metrics") or row.metrics(codes is not None)
    evaluation = measure_files(originals, reconstructions, codes, num_codes, **settings)
    return evaluation, store_row(row, evaluation, inputs, known, ResultStore(runs), settings["device"])
