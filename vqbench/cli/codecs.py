"""``vqbench codecs``: JPEG, WebP, AVIF and JPEG 2000 at the bits of quantizers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.codecs_table import STYLES, codecs_table
from vqbench.cli.measure import STORE, Originals, Protocols, Store, image_work
from vqbench.cli.measure_checks import require_format_of_text, require_runs, require_store
from vqbench.cli.options import Selection, add_plugins, given_path, output_folder, whole_number
from vqbench.cli.output import note, print_json
from vqbench.errors import UsageError, nearest
from vqbench.errors import counted as counted_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqbench.api.evaluation import Evaluation
    from vqbench.measuring.codecs.compressed_folder import CompressedFolder, RateTarget
    from vqbench.measuring.inputs.image_input import ImageInput
    from vqbench.measuring.pair_inputs import PairInputs
    from vqbench.planning.plan import Plan

COUNTED = {"files": (True,), "payload": (False,), "both": (True, False)}  # name -> whether headers count, in turn

Bits = Annotated[
    list[int],
    typer.Option(
        "--bits",
        metavar="N",
        parser=whole_number(8),
        show_default="with --suite, those of its rows",
        help="Bits an image may need; repeat.",
    ),
]
Codecs = Annotated[
    list[str] | None,
    typer.Option("--codec", metavar="NAME", show_default="all", help="jpeg, webp, avif or jpeg2000; repeat."),
]
Counted = Annotated[
    str, typer.Option("--count", metavar="WHAT", help="files: with headers; payload: without them; both.")
]
Suite = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", show_default=False, help="Store rows of this suite, of its test images without ORIGINALS."
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        metavar="NAME",
        show_default="the suite's, or fast",
        help="A metric, or a group: fast (no network), paper, all; repeat.",
    ),
]
MeasuredBy = Annotated[
    str, typer.Option("--measured-by", metavar="NAME", show_default=False, help="Who measured, kept with the rows.")
]
Runs = Annotated[
    Path, typer.Option("--runs", metavar="FOLDER", parser=given_path, help="Results folder that rows are written to.")
]
Output = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="FOLDER", parser=output_folder, help="Folder that the files are written to."
    ),
]
Format = Annotated[str, typer.Option("--format", metavar="NAME", help="text or markdown.")]
Show = Annotated[
    Path | None,
    typer.Option(metavar="FILE", parser=given_path, help="Print the table of what --json has printed to a file."),
]


def codecs(
    originals: Originals = None,
    bits: Bits = [],  # noqa: B006  # typer needs a list, and copies it
    chosen: Codecs = None,
    counted: Counted = "both",
    suite: Suite = None,
    sets: shared.Sets = None,
    protocols: Protocols = None,
    metrics: Metrics = None,
    measured_by: MeasuredBy = "",
    output: Output = Path("compressed"),
    store: Store = STORE,
    runs: Runs = shared.RUNS,
    show: Show = None,
    style: Format = "text",
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
    as_json: shared.Json = False,
) -> None:
    """Compress images by classical codecs, and measure the files.

    Each image gets the highest quality within --bits, of the whole file or of its payload alone. With --suite, values
    become rows of the suite's table, marked as not trained by vqbench, by default at the bits of its other rows. Files
    stay in --output. The exit code is 1 if no codec reaches a target.
    """
    if style not in STYLES:
        raise UsageError(f"unknown format {style!r}; {nearest(style, STYLES)}")
    require_format_of_text(style, as_json)
    if show is not None:
        if given := [name for name, value in _work(originals, bits, chosen, suite).items() if value]:
            raise UsageError(f"{' '.join(given)} and --show: nothing is compressed to show a file; leave one out")
        return _print(_shown(show), style, as_json)
    require_store(store)
    require_runs(runs, written=suite is not None, read=False)
    add_plugins(plugin)
    if suite is None and (measured_by or sets):
        raise UsageError("--measured-by and --set: of the rows of a suite; give --suite, too")
    _require_known(bits, chosen, counted, suite)
    plan = None if suite is None else Selection(sets=sets).plan(suite, runs)
    names = [name for name in metrics or () if name != "bits"]  # every row has its bits
    how = {"protocols": protocols, "metrics": names or None, "device": device, "store": store}
    found = []
    for dataset, root, images in _inputs(originals, plan, output):
        for target in _targets(bits or _bits_of_rows(plan, dataset), chosen, counted):
            with image_work(f"compressing to {target.label}", quiet) as progress:
                files = _compressed(images, target, root, progress)
            evaluation = None
            if files.reached:
                with image_work(f"measuring {target.label}", quiet) as progress:
                    evaluation = _measured(images, files, plan, measured_by, runs, offline, progress, how)
            found.append(_data(files, evaluation))
    _print(found, style, as_json)
    reached = sum(each["reached"] for each in found)
    if suite is not None and reached:
        rows = counted_in_words(reached, "row")
        note(f"stored in {runs}: {rows} of {suite}; `vqbench table {suite}` shows them beside the others")
    raise typer.Exit(int(not reached))


def _work(originals: Path | None, bits: Any, chosen: Any, suite: str | None) -> dict[str, Any]:
    """Return what describes images to compress, by the names of the options."""
    return {"ORIGINALS": originals, "--bits": bits, "--codec": chosen, "--suite": suite}


def _print(found: list[dict[str, Any]], style: str, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print(codecs_table(found, style))


def _shown(path: Path) -> list[dict[str, Any]]:
    """Return what --json has printed. Raises UsageError for other content."""
    from vqbench.system import stored_files

    try:
        found: list[dict[str, Any]] = stored_files.json_of(path)
        if not isinstance(found, list) or not found:
            raise ValueError("not a list of targets")
        codecs_table(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not what `vqbench codecs --json` prints; give such a file") from error
    return found


def _require_known(bits: Sequence[int], chosen: Sequence[str] | None, counted: str, suite: str | None) -> None:
    """Raise UsageError for unknown names, and without bits."""
    from vqbench.measuring.codecs.image_codecs import CODECS

    if not bits and suite is None:
        raise UsageError("give --bits, or --suite for those of its rows")
    for name in chosen or ():
        if name not in CODECS:
            raise UsageError(f"unknown codec {name!r}; {nearest(name, CODECS)}")
    if counted not in COUNTED:
        raise UsageError(f"--count {counted}: {nearest(counted, COUNTED)}")


def _targets(bits: Sequence[int], chosen: Sequence[str] | None, counted: str) -> list[RateTarget]:
    """Return what is to be reached, codec by codec."""
    from vqbench.measuring.codecs.compressed_folder import RateTarget
    from vqbench.measuring.codecs.image_codecs import CODECS

    names = list(dict.fromkeys(chosen)) if chosen else [name for name, codec in CODECS.items() if codec.available]
    return [RateTarget(name, each, headers) for each in bits for name in names for headers in COUNTED[counted]]


def _bits_of_rows(plan: Plan | None, dataset: str) -> list[int]:
    from vqbench.api.external_rows.row import bits_of_rows

    return [] if plan is None else bits_of_rows(plan, dataset)


def _inputs(originals: Path | None, plan: Plan | None, output: Path) -> list[tuple[str, Path, ImageInput]]:
    """Return the images to compress.

    Each with the name of their data set and the folder for their files.

    Raises UsageError without images, AssetError where they are not on this machine.
    """
    from vqbench import registry
    from vqbench.measuring.inputs.split_input import SplitInput
    from vqbench.measuring.pair_inputs import ReadingOptions, originals_at

    if originals is not None:
        first = "" if plan is None else plan.entries[0].dataset
        return [(first, output, originals_at(originals, ReadingOptions()))]
    if plan is None:
        raise UsageError("nothing to compress: give ORIGINALS, or --suite for its test images")
    parts = {entry.dataset: entry.run.dataset for entry in plan.entries}
    datasets = {name: registry.create("datasets", part.name, **part.args) for name, part in parts.items()}
    for name, dataset in datasets.items():
        if dataset.of_features:
            raise UsageError(f"{plan.suite.name}: {name} has features and no images that a codec could compress")
    return [(name, output / name, SplitInput.of_dataset(name, dataset)) for name, dataset in datasets.items()]


def _compressed(images: ImageInput, target: RateTarget, root: Path, progress: Any) -> CompressedFolder:
    from vqbench.measuring.codecs.compressed_folder import compress

    return compress(images, target, root, progress)


def _measured(
    images: ImageInput,
    files: CompressedFolder,
    plan: Plan | None,
    measured_by: str,
    runs: Path,
    offline: bool,
    progress: Any,
    how: dict[str, Any],
) -> Evaluation:
    """Measure the files, and store a row of ``plan``."""
    from vqbench import assets
    from vqbench.api.external_rows.measuring import store_measured
    from vqbench.api.external_rows.row import ExternalRow
    from vqbench.api.measure import measure_opened

    how = {**how, "label": files.target.label, "progress": progress}
    pairs = _pairs(images, files)
    with assets.no_downloads(offline):
        if plan is not None:
            row = ExternalRow(files.target.label, plan, measured_by)
            return store_measured(row, pairs, runs, files.described(), **how)
        return measure_opened(pairs, **{**how, "protocols": how["protocols"] or ["clean"]})


def _pairs(images: ImageInput, files: CompressedFolder) -> PairInputs:
    from vqbench.measuring.inputs.file_input import ImageFolder
    from vqbench.measuring.pair_inputs import PairInputs, ReadingOptions

    return PairInputs.of_opened(images, ImageFolder(files.folder), ReadingOptions(by_order=images.names is None))


def _data(files: CompressedFolder, evaluation: Evaluation | None) -> dict[str, Any]:
    """Return one target as JSON data."""
    target = files.target
    return {
        "row": target.label,
        "codec": target.codec,
        "target_bits": target.bits,
        "counted": target.counted,
        "bits": files.mean_bits,
        "file_bits": sum(files.file_bits) / len(files.file_bits),
        "settings": [min(files.settings), max(files.settings)],
        "images": len(files.bits),
        "over": files.over,
        "reached": files.reached,
        "folder": str(files.folder),
        "values": [] if evaluation is None else evaluation.values.to_dict("records"),
        "stored": None if evaluation is None else evaluation.about.get("row"),
    }
