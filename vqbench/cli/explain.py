"""``vqbench explain``: which setting of the evaluation makes a number what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import measure as measuring
from vqbench.cli import model_options as models
from vqbench.cli import options as shared
from vqbench.cli import trained as trained_run
from vqbench.cli.options import add_plugins, given_path, whole_number
from vqbench.cli.output import note, print_json, prints_to_stderr
from vqbench.errors import Interrupted, UsageError, counted
from vqbench.system.paths import is_file, is_folder, path_of

if TYPE_CHECKING:
    from vqbench.api.explaining import ExplainOptions, Progress
    from vqbench.api.measure_models import ModelOptions
    from vqbench.evaluation.explaining.values import ExplainedImages
    from vqbench.measuring.pair_inputs import ReadingOptions

END = "clean"
FILES = (".npy", ".npz", ".pt", ".pth", ".tar")

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN | SUITE ROW | ORIGINALS RECONSTRUCTIONS",
        show_default=False,
        help="A finished run; or two sets of images, of any kind that `vqbench measure` reads; or those of --model.",
    ),
]
Images = Annotated[
    int | None,
    typer.Option(
        "--test-images",
        "--images",
        metavar="N",
        parser=whole_number(2),
        show_default="all",
        help="Evaluate on N images: the first of a run, evenly spread ones of folders.",
    ),
]
Start = Annotated[
    str,
    typer.Option(
        "--from", metavar="PROTOCOL", help="Begin under this protocol, with settings if any: clean+jpeg=75+images=100."
    ),
]
End = Annotated[str, typer.Option("--to", metavar="PROTOCOL", help="End under this protocol, likewise.")]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="METRIC=NUMBER", help="Images: find the settings that print this number, as psnr=29.62."
    ),
]
OtherReference = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        parser=given_path,
        help="Images: compare with these as well, such as another split (FID, KID).",
    ),
]
Steps = Annotated[bool, typer.Option("--steps", help="Change settings one after the other only, none alone.")]
Alone = Annotated[bool, typer.Option("--alone", help="With --target: try each setting alone, none in pairs.")]


def explain(
    words: Words = None,
    model: models.Model = None,
    dataset: models.Dataset = None,
    model_range: models.ModelRange = None,
    batch_size: models.BatchSize = None,
    trust: models.Trust = False,
    originals_as: measuring.OriginalsAs = None,
    start: Start = "official",
    end: End = END,
    steps: Steps = False,
    target: TargetOption = None,
    other_reference: OtherReference = None,
    alone: Alone = False,
    by_order: measuring.ByOrder = False,
    value_range: measuring.Range = None,
    array: measuring.Array = None,
    skip_damaged: measuring.SkipDamaged = False,
    as_rgb: measuring.AsRgb = False,
    store: shared.StoreToRead = shared.RUNS,
    metrics: measuring.Metrics = None,
    images: Images = None,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
    as_json: shared.Json = False,
) -> None:
    """Show how each setting of the evaluation changes the values."""
    from vqbench import assets
    from vqbench.api.explaining import ExplainOptions
    from vqbench.measuring.pair_inputs import ReadingOptions

    add_plugins(plugin)
    _require_names(start, end, metrics or (), target)
    _require_together(target, alone, steps, end, metrics)
    words = words or []
    if len(words) > 2 or not (words or model):
        raise UsageError(
            f"{len(words)} words: give RUN, SUITE ROW, ORIGINALS RECONSTRUCTIONS, or --model with ORIGINALS"
        )
    made_by = models.chosen_model(model, dataset, model_range, batch_size, trust, store)
    say = (lambda sentence: None) if quiet else note
    options = ExplainOptions(start, end, metrics or (), steps, device, say=say)
    reading = ReadingOptions(by_order, originals_as, value_range, array, skip_damaged, as_rgb)
    with assets.no_downloads(offline):
        if made_by is not None or _are_images(words):
            if made_by is None and store != shared.RUNS:
                raise UsageError(f"--store {store}: where a RUN is read from, and no run is given; leave it out")
            with prints_to_stderr():
                pairs = _opened(words, made_by, other_reference, images, reading, device, say)
            _explain_images(pairs, options, target, alone, quiet, as_json)
            return
        if target is not None or other_reference is not None or reading != ReadingOptions():
            raise UsageError(
                "--target, --other-reference and the options of reading are of images that exist, such as two folders; "
                "`vqbench export` writes a run's"
            )
        _explain_run(words, store, options, images, quiet, as_json)


def _require_names(start: str, end: str, metrics: Sequence[str], target: str | None) -> None:
    """Raise UsageError for names that do not exist, before anything is read."""
    from vqbench import registry
    from vqbench.evaluation.explaining.named_conditions import parsed
    from vqbench.evaluation.explaining.target import Target
    from vqbench.registry.metric_groups import GROUPS

    for option, text in (("--from", start), ("--to", end)):
        try:
            parsed(text)
        except UsageError as error:
            raise UsageError(f"{option}: {error}") from None
    single = [name for name in metrics if name not in GROUPS]
    for name in [*single, *([] if target is None else [Target.parse(target).metric])]:
        registry.load("metrics", name)


def _require_together(target: str | None, alone: bool, steps: bool, end: str, metrics: Sequence[str] | None) -> None:
    """Raise UsageError for options that would change nothing beside the others."""
    if target is None:
        if alone:
            raise UsageError("--alone: with --target alone, which tries settings in pairs, too; leave it out")
        return
    if steps:
        raise UsageError("--target tries each setting alone, and --steps none; give one of them")
    if end != END:
        raise UsageError(f"--to {end}: --target ends nowhere, it searches from --from on; leave --to out")
    for name in metrics or ():
        if name != target.partition("=")[0]:
            raise UsageError(f"--metrics {name}: --target {target} is of one metric; leave --metrics out")


def _opened(
    words: Sequence[str],
    made_by: ModelOptions | None,
    other_reference: Path | None,
    images: int | None,
    reading: ReadingOptions,
    device: str,
    say: Callable[[str], None],
) -> ExplainedImages:
    """Open two sides that exist, or the originals of a model."""
    from vqbench.api.explaining import explained_model, explained_pairs

    if made_by is None:
        pairs = explained_pairs(path_of(words[0]), path_of(words[1]), other_reference, images, reading, say)
    else:
        pairs = explained_model(models.only_originals(words), made_by, other_reference, images, reading, device, say)
    if images is not None and images > pairs.available:
        say(f"--images {images}: {counted(pairs.available, 'pair')} exist, all of which are used")
    return pairs


def _are_images(words: Sequence[str]) -> bool:
    """Return whether the words name two sets of images, and no suite with a row."""
    if len(words) != 2 or words[0].endswith((".yaml", ".yml")):
        return False
    return all(is_file(word) or is_folder(word) for word in words) or any(
        "/" in word or word.endswith(FILES) for word in words
    )


def _explain_run(
    words: Sequence[str],
    store: Path,
    options: ExplainOptions,
    images: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from vqbench.api.explaining import explain_run
    from vqbench.api.finished_runs import find_run
    from vqbench.evaluation.trained_model import load_model
    from vqbench.reporting.explaining.protocol_differences import data, text
    from vqbench.store.results import ResultStore

    found, record = find_run(ResultStore(store), words[0], words[1] if len(words) == 2 else None)
    trained = load_model(found, record, options.device)
    with trained_run.progress_of(trained.run, "evaluating", quiet) as on_progress:
        explanation = explain_run(trained, replace(options, progress=on_progress), images)
    if as_json:
        print_json(data(explanation))
    else:
        print(text(explanation))


def _explain_images(
    images: ExplainedImages, options: ExplainOptions, target: str | None, alone: bool, quiet: bool, as_json: bool
) -> None:
    from vqbench.api.explaining import explain_images, search_target
    from vqbench.reporting.explaining import protocol_differences, target_search

    with _progress(quiet) as on_progress:
        options = replace(options, progress=on_progress)
        if target is None:
            explanation = explain_images(images, options)
        else:
            search = search_target(images, target, options, pairs=not alone)
    if target is None and as_json:
        print_json(protocol_differences.data(explanation))
    elif target is None:
        print(protocol_differences.text(explanation))
    elif as_json:
        print_json(target_search.data(search))
    else:
        print(target_search.text(search))


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    """Show a bar; yields the function that receives images done and in all.

    They are counted once for each setting. It raises Interrupted after a signal.
    """
    from vqbench.execution.progress import image_progress
    from vqbench.execution.stopping import Stop

    with prints_to_stderr(), Stop(resumes=False) as stop, image_progress("evaluating", quiet) as show:

        def on_progress(done: int, total: int) -> None:
            show(done, total)
            if stop():
                raise Interrupted("stopped while evaluating; run the same command again")

        yield on_progress
