"""Store a row that vqbench did not train beside the runs of a suite."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from vqbench import registry
from vqbench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from vqbench.api.evaluation import Evaluation
    from vqbench.api.measure import HowToMeasure
    from vqbench.api.measure_models import ModelOptions
    from vqbench.measuring.known_images import KnownImages
    from vqbench.measuring.models.model_inputs import ModelInputs
    from vqbench.measuring.pair_inputs import PairInputs, ReadingOptions
    from vqbench.planning.plan import Plan
    from vqbench.store.external_record import ExternalRecord
    from vqbench.store.record import Value
    from vqbench.store.results import ResultStore

LONGEST = 60  # letters of a label
BITS = "bits"  # the metric of a rate
EQUAL = 0.05  # share by which bits may differ between rows that count as of one rate


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

    @property
    def suite(self) -> str:
        """The name of the suite that records of the row have."""
        return self.plan.suite.name_in_file

    def dataset(self, name: str) -> dict[str, Any]:
        """Return the data set that the suite calls ``name``, as records have it."""
        return next(entry.run.dataset for entry in self.plan.entries if entry.dataset == name).to_dict()

    def place(self, dataset: str, images: int) -> tuple[str, str, str, int]:
        """Return the place of the row; see :class:`ExternalRecord`."""
        from vqbench.store.external_record import place_of

        return place_of(self.suite, self.label, self.dataset(dataset), images)

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


def bits_of_rows(plan: Plan, dataset: str) -> list[int]:
    """Return the bits per image of a suite's rows on a data set.

    In ascending order; whole bits, rounded down; of rows within 5 % of each other, the most.

    Raises UsageError where no row is quantized to finitely many bits.
    """
    from vqbench.training.model_building import planned_bits

    runs = [entry.run for entry in plan.entries if entry.dataset == dataset]
    images = registry.create("datasets", dataset, **runs[0].dataset.args)
    models = {json.dumps([run.quantizer.to_dict(), run.backbone.to_dict()]): run for run in runs}  # each once
    every = {planned_bits(run, images) for run in models.values()}
    kept: list[int] = []
    for bits in sorted((each for each in every if each is not None and isfinite(each)), reverse=True):
        if not kept or bits < (1 - EQUAL) * kept[-1]:
            kept.append(int(bits))
    if not kept:
        raise UsageError(f"{plan.suite.name}: no row on {dataset} is quantized, so none has bits; give --bits")
    return kept[::-1]


def row_of(suite: Any, label: str | None, measured_by: str, runs: Path) -> ExternalRow | None:
    """Return the row to store, None without a label.

    ``suite`` is what :func:`vqbench.load_suite` takes or returns; its plan is read from ``runs`` if it is current.

    Raises UsageError for arguments that do not fit.
    """
    from vqbench.api.suites import as_suite
    from vqbench.store.results import ResultStore

    if (suite is None) != (label is None):
        raise UsageError("suite and row belong together: the suite's table shows the row; give both")
    if suite is None or label is None:
        if measured_by:
            raise UsageError("measured_by is kept in the record of a row; give suite and row, too")
        return None
    return ExternalRow(label, as_suite(suite).resolve([ResultStore(runs)]), measured_by)


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
    row: ExternalRow,
    originals: Path | None,
    reconstructions: Path | None,
    codes: Path | None,
    num_codes: int | None,
    reference: Path | None,
    *,
    runs: Path,
    model: ModelOptions | None = None,
    options: ReadingOptions | None = None,
    **how: Unpack[HowToMeasure],
) -> Evaluation:
    """Measure images and store their values as a row of a suite's table.

    Args:
        row: What the row is called, and where it is shown.
        originals: Images, as :func:`vqbench.api.measure.measure_files` takes them; None for the data set of a model.
        reconstructions: Likewise; None with a model.
        codes: Codes of the reconstructions, None without.
        num_codes: Size of the codebook; None: as the file of codes, or the model, has it.
        reference: Must be None; see Raises.
        runs: Results folder that the row is written to.
        model: What makes the reconstructions, in their place.
        options: How inputs are read and matched.
        how: See :class:`vqbench.api.measure.HowToMeasure`; protocols and metrics are by default those of the suite.

    Returns:
        The values; ``about["row"]`` has label, suite and folder of the row.

    Raises:
        UsageError: Originals that are no test images of the suite, a finished run as model, a reference, or inputs that
            do not fit together.
        NotKept: The row cannot be written, or exists with other images; the error has the values.
        AssetError: Files that cannot be read, or weights that cannot be fetched.
    """
    from vqbench.measuring.pair_inputs import ReadingOptions

    if reference is not None:
        raise UsageError(
            "--row: not with --reference; rows are of pairs, since values of samples are named by the settings of a "
            "sampler, which images do not have. Leave one out"
        )
    options, device = options or ReadingOptions(), how.get("device", "cpu")
    inputs = _opened(originals, reconstructions, codes, num_codes, model, options, device)
    return store_measured(row, inputs, runs, **how)


def store_measured(
    row: ExternalRow,
    inputs: PairInputs | ModelInputs,
    runs: Path,
    rate: Mapping[str, Any] | None = None,
    **how: Unpack[HowToMeasure],
) -> Evaluation:
    """Measure pairs that were opened, and store their values as a row.

    ``rate`` has ``bits_per_image`` of reconstructions without codes, and in words how it was counted. See
    :func:`measure_row` for the rest.
    """
    from vqbench.api.evaluation import NotKept
    from vqbench.api.measure import measure_digested
    from vqbench.measuring.known_images import known_images
    from vqbench.store import external_rows
    from vqbench.store.results import ResultStore

    device, progress = how.get("device", "cpu"), how.get("progress", lambda done, total: None)
    known = known_images(inputs, row.datasets(), progress)
    _require_no_other(row, inputs, known, ResultStore(runs), progress)
    how["protocols"] = how.get("protocols") or row.protocols()
    how["metrics"] = how.get("metrics") or row.metrics(inputs.codes is not None)
    evaluation, digests = measure_digested(inputs, **how)
    measured = MeasuredRow(row, inputs, evaluation, digests, known, rate)
    try:
        folder = external_rows.write(ResultStore(runs), measured.record(device), _images(evaluation, known))
    except (StoreError, UsageError) as error:
        raise NotKept(evaluation, error, f"row {row.label!r}") from error
    facts = {"label": row.label, "suite": row.plan.suite.name, "folder": str(folder)}
    return replace(evaluation, about={**evaluation.about, "row": facts})


def _require_no_other(
    row: ExternalRow,
    inputs: PairInputs | ModelInputs,
    known: KnownImages,
    runs: ResultStore,
    progress: Callable[[int, int], None],
) -> None:
    """Raise UsageError if ``runs`` has the row with other reconstructions.

    Those of a model are only known once it has made them; then writing the row raises.
    """
    from vqbench.measuring.known_images import reconstructions_digest
    from vqbench.measuring.pair_inputs import PairInputs
    from vqbench.store import external_rows

    place = row.place(known.dataset, len(known.places))
    earlier = [each for each in external_rows.external_records(runs) if each.place == place]
    if earlier and isinstance(inputs, PairInputs):
        digest = reconstructions_digest(inputs, progress)
        for each in earlier:
            if each.given["reconstructions"]["digest"] != digest:
                raise external_rows.exists_already(runs, each)


def _opened(
    originals: Path | None,
    reconstructions: Path | None,
    codes: Path | None,
    num_codes: int | None,
    model: ModelOptions | None,
    options: ReadingOptions,
    device: str,
) -> PairInputs | ModelInputs:
    """Open the pairs of a row. Raises UsageError for what no row can be of."""
    from vqbench.api.measure_models import opened_model, require_originals_alone
    from vqbench.measuring.models.trained_autoencoder import RUN
    from vqbench.measuring.pair_inputs import PairInputs

    for name, given in (("--skip-damaged", options.skip_damaged), ("--as-rgb", options.as_rgb)):
        if given:
            raise UsageError(f"--row: not with {name}, since rows are compared on the same images; leave it out")
    if model is not None:
        require_originals_alone(reconstructions=reconstructions, codes=codes)
        inputs = opened_model(originals, model, num_codes, options, device)
        if inputs.model.kind == RUN:
            raise UsageError(
                f"--row: {inputs.model.name} is a run of vqbench, and external rows are of models that it did not "
                "train; its suite's table has its row"
            )
        return inputs
    if originals is None or reconstructions is None:
        raise UsageError("--row: give originals and reconstructions, or --model; a row has values of pairs")
    return PairInputs.open(originals, reconstructions, codes, num_codes, options)
