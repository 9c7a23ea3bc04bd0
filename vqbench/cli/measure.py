"""``vqbench measure``: values of images that exist, whatever model made them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import model_options as models
from vqbench.cli import options as shared
from vqbench.cli.measure_checks import require_format_of_text, require_outputs, require_runs, require_store
from vqbench.cli.options import Selection, add_plugins, given_path, output_file, whole_number
from vqbench.cli.output import note, print_json, prints_to_stderr
from vqbench.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vqbench.api.evaluation import Evaluation, NotKept
    from vqbench.api.external_rows.row import ExternalRow

STORE = Path("measured")

Originals = Annotated[
    Path | None,
    typer.Argument(
        metavar="ORIGINALS",
        parser=given_path,
        show_default=False,
        help="A folder of images, tar shards, an lmdb environment, or an array (.npy, .npz, .pt).",
    ),
]
Reconstructions = Annotated[
    Path | None,
    typer.Argument(
        metavar="RECONSTRUCTIONS",
        parser=given_path,
        show_default=False,
        help="Likewise, with the same relative names. Without it, the first are a generator's images.",
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", parser=given_path, help="Images that are no partners, for FID, KID, precision and the like."
    ),
]
Codes = Annotated[
    Path | None, typer.Option(metavar="FILE", parser=given_path, help="Codes as .npz or .npy, for usage and the like.")
]
NumCodes = Annotated[
    int | None,
    typer.Option(metavar="K", parser=whole_number(2), show_default="as the file has it", help="Size of the codebook."),
]
Protocols = Annotated[
    list[str] | None,
    typer.Option("--protocol", metavar="NAME", show_default="clean", help="clean or official; repeat."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        metavar="NAME",
        show_default="fast",
        help="A metric, or a group: fast (no network), paper, all; repeat.",
    ),
]
Label = Annotated[str, typer.Option(metavar="NAME", help="Name of the model, for the table.")]
ByOrder = Annotated[bool, typer.Option("--by-order", help="Match by position, files in natural order: 9 before 10.")]
OriginalsAs = Annotated[
    str | None,
    typer.Option(metavar="HOW", help="Prepare larger originals: crop:256, resize:256:bicubic, squash:256:bilinear."),
]
Range = Annotated[
    str | None,
    typer.Option("--range", metavar="LOW..HIGH", show_default="detected", help="Of float arrays: 0..1, -1..1, 0..255."),
]
Array = Annotated[str | None, typer.Option(metavar="NAME", help="Which array, of files with several.")]
SkipDamaged = Annotated[bool, typer.Option("--skip-damaged", help="Leave out pairs with a damaged image.")]
AsRgb = Annotated[bool, typer.Option("--as-rgb", help="Measure grey against colours, as three equal channels.")]
Format = Annotated[str, typer.Option("--format", metavar="NAME", help="text, markdown, csv or latex.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", parser=output_file, help="Write to a file.")
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=output_file,
        help="Write a page (HTML): worst and best images, histograms, digests.",
    ),
]
Store = Annotated[
    Path, typer.Option("--store", metavar="FOLDER", parser=given_path, help="Keeps values, and what was interrupted.")
]
Suite = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default=False,
        help="Suite whose table shows --row, and whose metrics are measured.",
    ),
]
Row = Annotated[
    str | None,
    typer.Option(metavar="LABEL", show_default=False, help="Store the values as a row of --suite, not trained here."),
]
MeasuredBy = Annotated[
    str,
    typer.Option("--measured-by", metavar="NAME", show_default=False, help="Who measured, kept with --row."),
]
Runs = Annotated[
    Path,
    typer.Option(
        "--runs",
        metavar="FOLDER",
        parser=given_path,
        help="Results folder: --row is written to it, a RUN read from it.",
    ),
]


def measure(
    originals: Originals = None,
    reconstructions: Reconstructions = None,
    model: models.Model = None,
    dataset: models.Dataset = None,
    model_range: models.ModelRange = None,
    batch_size: models.BatchSize = None,
    trust: models.Trust = False,
    codes: Codes = None,
    num_codes: NumCodes = None,
    reference: Reference = None,
    protocols: Protocols = None,
    chosen: Metrics = None,
    label: Label = "",
    by_order: ByOrder = False,
    originals_as: OriginalsAs = None,
    value_range: Range = None,
    array: Array = None,
    skip_damaged: SkipDamaged = False,
    as_rgb: AsRgb = False,
    style: Format = "text",
    output: Output = None,
    report: Report = None,
    store: Store = STORE,
    suite: Suite = None,
    row: Row = None,
    measured_by: MeasuredBy = "",
    runs: Runs = shared.RUNS,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
    as_json: shared.Json = False,
) -> None:
    """Measure the images of any model, or a model itself.

    Images are read part by part. What is interrupted resumes when the same command is called again; values, also those
    of each image, are kept in --store. With --suite and --row they also become a row of that suite's table, if the
    originals are its test images: marked as not trained by vqbench, and never ranked.
    """
    from vqbench.api.evaluation import require_format
    from vqbench.cli.measure_report import write_report
    from vqbench.measuring.pair_inputs import ReadingOptions

    add_plugins(plugin)
    require_format(style)
    require_format_of_text(style, as_json)
    require_outputs(output, report, (originals, reconstructions, codes, reference))
    require_store(store)
    require_runs(runs, written=row is not None, read=model is not None)
    external = _external_row(suite, row, measured_by, runs)
    options = ReadingOptions(by_order, originals_as, value_range, array, skip_damaged, as_rgb)
    made_by = models.chosen_model(model, dataset, model_range, batch_size, trust, runs)
    settings = {"options": options, "device": device, "label": label or row or "", "store": store, "metrics": chosen}
    settings |= {"model": made_by, "protocols": protocols}
    inputs = originals, reconstructions, codes, num_codes, reference
    evaluation, lost = _measured(external, inputs, runs, settings, offline, quiet)
    if report is not None:
        write_report(evaluation, report, originals, made_by or reconstructions, options, device)
    _print(evaluation, style, output, as_json, lost)


def _external_row(suite: str | None, row: str | None, measured_by: str, runs: Path) -> ExternalRow | None:
    """Return the row to store, or None.

    Raises UsageError for options that do not fit.
    """
    if (suite is None) != (row is None):
        raise UsageError("--suite and --row belong together: the suite's table shows the row; give both")
    if suite is None or row is None:
        if measured_by:
            raise UsageError("--measured-by is kept in the record of a row; give --suite and --row, too")
        return None
    from vqbench.api.external_rows.row import ExternalRow

    return ExternalRow(row, Selection().plan(suite, runs), measured_by)


def _measured(
    row: ExternalRow | None, inputs: tuple[Any, ...], runs: Path, settings: dict[str, Any], offline: bool, quiet: bool
) -> tuple[Evaluation, NotKept | None]:
    """Measure, and store the row, if any; return also why values are not kept.

    ``inputs`` are originals, reconstructions, codes, the size of their codebook, and the reference.
    """
    from vqbench import assets
    from vqbench.api.evaluation import NotKept
    from vqbench.api.external_rows.measuring import measure_row
    from vqbench.api.measure_sets import measure_images

    with assets.no_downloads(offline), image_work("measuring", quiet) as on_progress:
        settings |= {"progress": on_progress, "say": note}
        try:
            if row is not None:
                return measure_row(row, *inputs, runs=runs, **settings), None
            settings["protocols"] = settings["protocols"] or ["clean"]
            return measure_images(*inputs, **settings), None
        except NotKept as error:
            return error.evaluation, error


def _print(evaluation: Evaluation, style: str, output: Path | None, as_json: bool, lost: NotKept | None) -> None:
    """Print or write the evaluation, then raise ``lost``, if any."""
    from vqbench.system import jsontext
    from vqbench.system.output import write_text

    text = jsontext.dumps(_data(evaluation)) if as_json else evaluation.table(style)
    if output is not None:
        write_text(output, text + "\n")
    elif as_json:
        print_json(_data(evaluation))
    else:
        print(text)
    if not as_json and evaluation.about.get("per_image"):
        note(f"values per image: {evaluation.about['per_image']}")
    if stored := evaluation.about.get("row"):
        note(f"stored as a row of {stored['suite']}: {stored['folder']}")
    if lost is not None:
        raise lost


def _data(evaluation: Evaluation) -> dict[str, Any]:
    """Return the evaluation as JSON data."""
    return {"label": evaluation.label, **evaluation.about, "values": evaluation.values.to_dict("records")}


@contextmanager
def image_work(activity: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; yields the function that receives images done and in all.

    It raises Interrupted after a signal.
    """
    from vqbench.execution.progress import image_progress
    from vqbench.execution.stopping import Stop

    with prints_to_stderr(), Stop() as stop, stop.graceful(note), image_progress(activity, quiet) as show:

        def on_progress(done: int, total: int) -> None:
            show(done, total)
            if stop():
                raise stop.cause or Interrupted("stopped; the same command resumes")

        yield on_progress
