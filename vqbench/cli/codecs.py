"""``vqbench codecs``: JPEG, WebP, AVIF and JPEG 2000 at the bits of quantizers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.measure import STORE, MeasuredBy, Originals, Protocols, Runs, Store, image_work
from vqbench.cli.measure_checks import require_format_of_text, require_runs, require_store
from vqbench.cli.options import Selection, add_plugins, given_path, output_folder, whole_number
from vqbench.cli.output import note, print_json
from vqbench.errors import UsageError, nearest
from vqbench.errors import counted as counted_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vqbench.api.evaluation import Evaluation
    from vqbench.measuring.codecs.compressed_folder import CompressedFolder, RateTarget
    from vqbench.measuring.inputs.image_input import ImageInput
    from vqbench.measuring.pair_inputs import PairInputs
    from vqbench.planning.plan import Plan

STYLES = {"text": "simple", "markdown": "pipe"}  # name -> tabulate's
COUNTED = {"files": (True,), "payload": (False,), "both": (True, False)}  # name -> whether headers count, in turn

Bits = Annotated[
    list[int], typer.Option("--bits", metavar="N", parser=whole_number(8), help="Bits an image may need; repeat.")
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
    typer.Option("--metrics", metavar="NAME", show_default="the suite's, or those without a network", help="Repeat."),
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
    become rows of the suite's table, marked as not trained by vqbench. Files stay in --output. The exit code is 1 if no
    codec reaches a target.
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
    targets = _targets(bits, chosen, counted)
    if suite is None and (measured_by or sets):
        raise UsageError("--measured-by and --set: of the rows of a suite; give --suite, too")
    plan = None if suite is None else Selection(sets=sets).plan(suite, runs)
    how = {"protocols": protocols, "metrics": metrics, "device": device, "store": store}
    found = []
    for root, images in _inputs(originals, plan, output):
        for target in targets:
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
        note(f"stored in {runs}: {counted_in_words(reached, 'row')} of {suite}")
    raise typer.Exit(int(not reached))


def _work(originals: Path | None, bits: Any, chosen: Any, suite: str | None) -> dict[str, Any]:
    """Return what describes images to compress, by the names of the options."""
    return {"ORIGINALS": originals, "--bits": bits, "--codec": chosen, "--suite": suite}


def _print(found: list[dict[str, Any]], style: str, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print(_text(found, style))


def _shown(path: Path) -> list[dict[str, Any]]:
    """Return what --json has printed. Raises UsageError for other content."""
    from vqbench.system import stored_files

    try:
        found: list[dict[str, Any]] = stored_files.json_of(path)
        if not isinstance(found, list) or not _text(found):
            raise ValueError("not a list of targets")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not what `vqbench codecs --json` prints; give such a file") from error
    return found


def _targets(bits: Sequence[int], chosen: Sequence[str] | None, counted: str) -> list[RateTarget]:
    """Return what is to be reached, codec by codec.

    Raises UsageError for unknown names.
    """
    from vqbench.measuring.codecs.compressed_folder import RateTarget
    from vqbench.measuring.codecs.image_codecs import CODECS

    if not bits:
        raise UsageError("give --bits, such as the bits an image that `vqbench table SUITE` has of a row")
    for name in chosen or ():
        if name not in CODECS:
            raise UsageError(f"unknown codec {name!r}; {nearest(name, CODECS)}")
    if counted not in COUNTED:
        raise UsageError(f"--count {counted}: {nearest(counted, COUNTED)}")
    names = list(dict.fromkeys(chosen)) if chosen else [name for name, codec in CODECS.items() if codec.available]
    return [RateTarget(name, each, headers) for each in bits for name in names for headers in COUNTED[counted]]


def _inputs(originals: Path | None, plan: Plan | None, output: Path) -> list[tuple[Path, ImageInput]]:
    """Return the images to compress, each with the folder for their files.

    Raises UsageError without images, AssetError where they are not on this machine.
    """
    from vqbench import registry
    from vqbench.measuring.inputs.split_input import SplitInput
    from vqbench.measuring.pair_inputs import ReadingOptions, originals_at

    if originals is not None:
        return [(output, originals_at(originals, ReadingOptions()))]
    if plan is None:
        raise UsageError("nothing to compress: give ORIGINALS, or --suite for its test images")
    parts = {entry.dataset: entry.run.dataset for entry in plan.entries}
    datasets = {name: registry.create("datasets", part.name, **part.args) for name, part in parts.items()}
    return [(output / name, SplitInput.of_dataset(name, dataset)) for name, dataset in datasets.items()]


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
    from vqbench.api.external_row import ExternalRow, store_measured
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


def _text(found: Sequence[Mapping[str, Any]], style: str = "text") -> str:
    """Format JSON data of targets: one table per protocol, and sentences below."""
    from tabulate import tabulate

    from vqbench.protocol import measuring
    from vqbench.system.output import fold

    def sentence(text: str) -> str:
        return f"{text}  " if style == "markdown" else fold(text)  # two spaces: a line of its own

    lines = []
    for protocol in dict.fromkeys(value["protocol"] for each in found for value in each["values"]):
        rows, heads = [], ["row", "bits", "setting"]
        for each in [each for each in found if each["reached"]]:
            values = [value for value in each["values"] if value["protocol"] == protocol]
            metrics = [f"{v['label']} ({v['unit']})" if v["unit"] else v["label"] for v in values]
            heads = [*heads[:3], *metrics]
            low, high = each["settings"]
            start = [each["row"], f"{each['bits']:,.0f}", f"{low} to {high}" if low < high else f"{low}"]
            rows.append([*start, *(f"{value['value']:.{value['digits']}f}" for value in values)])
        drawn = tabulate(
            rows, heads, STYLES[style], disable_numparse=True, colalign=["left", *["right"] * (len(heads) - 1)]
        )
        lines += [*(line.rstrip() for line in drawn.splitlines()), ""]
        lines.append(sentence(f"{protocol}: {measuring(protocol).summary}."))
    notes = dict.fromkeys(value["note"] for each in found for value in each["values"] if value["note"])
    lines += map(sentence, [*filter(None, map(_beyond, found)), *notes])
    if any(each["reached"] for each in found):
        lines.append(sentence("Bits are means over images; each image has the best setting within the target."))
    return "\n".join(lines)


def _beyond(each: Mapping[str, Any]) -> str:
    """Say that a target is out of reach, or some images are beyond it."""
    if not each["over"]:
        return ""
    images = f"{each['over']:,} of {counted_in_words(each['images'], 'image')} need more by the lowest setting"
    mean = f"mean {each['bits']:,.0f} bits"
    return (
        f"{each['row']}: {images} ({mean})." if each["reached"] else f"{each['row']}: out of reach; {images} ({mean})."
    )


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
