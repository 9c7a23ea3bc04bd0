"""Measure an external row, and store it beside the runs of its suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from vqbench.api.external_rows.measured_row import MeasuredRow
from vqbench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from vqbench.api.evaluation import Evaluation
    from vqbench.api.external_rows.row import ExternalRow
    from vqbench.api.measure import HowToMeasure
    from vqbench.api.measure_models import ModelOptions
    from vqbench.measuring.known_images import KnownImages
    from vqbench.measuring.models.model_inputs import ModelInputs
    from vqbench.measuring.pair_inputs import PairInputs, ReadingOptions
    from vqbench.store.results import ResultStore


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
        UsageError: Originals that are no test images of the suite, other reconstructions than those of a stored row of
            this name, a finished run as model, a reference, or inputs that do not fit together.
        NotKept: The row cannot be written, or a model made other images than those of the stored row; the error has the
            values.
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
        folder = external_rows.write(ResultStore(runs), measured.record(device), measured.images())
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
