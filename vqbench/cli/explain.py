"""``vqbench explain``: which setting of the evaluation makes a number what it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli import trained as trained_run
from vqbench.cli.options import add_plugins, whole_number
from vqbench.cli.output import note, print_json
from vqbench.errors import Interrupted, UsageError
from vqbench.system.paths import is_file, is_folder

if TYPE_CHECKING:
    from vqbench.evaluation.explaining.protocol_differences import Explanation
    from vqbench.evaluation.trained_model import TrainedModel
    from vqbench.protocol import MeasureProtocol

ARRAYS = (".npy", ".npz")
SLOW = ("rfid", "kid", "lpips")  # metrics whose cost is said before they are computed

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN | SUITE ROW | ORIGINALS RECONSTRUCTIONS",
        help="A finished run; or two folders of images or arrays (.npy, .npz), whatever made them.",
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", show_default="those that take no minutes", help="Explain this metric."),
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
Start = Annotated[str, typer.Option("--from", metavar="PROTOCOL", help="Images: begin under this protocol.")]
End = Annotated[str, typer.Option("--to", metavar="PROTOCOL", help="Images: end under this protocol.")]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="METRIC=NUMBER", help="Images: find the settings that print this number, as psnr=29.62."
    ),
]


def explain(
    words: Words,
    start: Start = "official",
    end: End = "clean",
    target: TargetOption = None,
    store: shared.StoreToRead = shared.RUNS,
    metrics: Metrics = None,
    images: Images = None,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
    as_json: shared.Json = False,
) -> None:
    """Show how each setting of the evaluation changes the values."""
    from vqbench import assets, registry

    add_plugins(plugin)
    for name in metrics or ():  # before anything is printed as begun
        registry.load("metrics", name)
    if len(words) > 2:
        raise UsageError(f"{len(words)} words: give RUN, SUITE ROW, or ORIGINALS RECONSTRUCTIONS")
    with assets.no_downloads(offline):
        if _are_images(words):
            _explain_images(words, start, end, target, metrics, images, device, quiet, as_json)
            return
        if (start, end, target) != ("official", "clean", None):
            raise UsageError(
                "--from, --to and --target are of two folders or arrays that exist; `vqbench export` writes a run's"
            )
        _explain_run(words, store, metrics, images, device, quiet, as_json)


def _are_images(words: Sequence[str]) -> bool:
    """Return whether the words name two folders or arrays, and no suite with a row."""
    if len(words) != 2 or words[0].endswith((".yaml", ".yml")):
        return False
    return all(is_file(word) or is_folder(word) for word in words) or any(
        "/" in word or word.endswith(ARRAYS) for word in words
    )


def _explain_run(
    words: Sequence[str],
    store: Path,
    metrics: Sequence[str] | None,
    images: int | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    from vqbench.api.finished_runs import find_run
    from vqbench.evaluation.trained_model import load_model
    from vqbench.reporting.explaining.protocol_differences import data, text
    from vqbench.store.results import ResultStore

    found, record = find_run(ResultStore(store), words[0], words[1] if len(words) == 2 else None)
    explanation = _explained(load_model(found, record, device), metrics or (), images, quiet)
    if as_json:
        print_json(data(explanation))
    else:
        print(text(explanation))


def _explained(trained: TrainedModel, metrics: Sequence[str], images: int | None, quiet: bool) -> Explanation:
    """Explain the values of ``trained`` with a progress bar.

    Raises Interrupted after a signal.
    """
    from vqbench.evaluation.explaining import trained_run as explaining
    from vqbench.execution.preparation import fetch

    with trained_run.progress_of(trained.run, "evaluating", quiet) as on_progress:
        return explaining.explain(
            trained.run,
            trained.model,
            trained.dataset,
            trained.engine.device,
            metrics,
            images,
            fetch=fetch,
            on_progress=on_progress,
        )


def _explain_images(
    words: Sequence[str],
    start: str,
    end: str,
    target: str | None,
    metrics: Sequence[str] | None,
    limit: int | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    from vqbench.evaluation.explaining import image_explanation
    from vqbench.evaluation.explaining.image_inputs import ImageInputs
    from vqbench.evaluation.explaining.other_tools import named_protocol
    from vqbench.evaluation.explaining.settings import conditions
    from vqbench.evaluation.explaining.target import Target, target_plan
    from vqbench.execution.preparation import fetch
    from vqbench.reporting.explaining import protocol_differences, target_search

    wanted = None if target is None else Target.parse(target)
    inputs = ImageInputs(Path(words[0]), Path(words[1]), limit)
    if wanted is None:
        plan = image_explanation.plan_of(inputs, start, end, metrics or (), fetch)
        with _progress(quiet, plan.wanted(), inputs.facts.images) as on_progress:
            explanation = image_explanation.explained(plan, inputs, device, on_progress)
        if as_json:
            print_json(protocol_differences.data(explanation))
        else:
            print(protocol_differences.text(explanation))
        return
    search_plan = target_plan(wanted, conditions(named_protocol(start), inputs.facts), inputs.facts, fetch)
    if wanted.metric in SLOW:
        note(image_explanation.cost(search_plan, inputs.facts.images))
    with _progress(quiet, search_plan.wanted(), inputs.facts.images) as on_progress:
        search = image_explanation.searched(search_plan, inputs, device, on_progress)
    if as_json:
        print_json(target_search.data(search))
    else:
        print(target_search.text(search))


@contextmanager
def _progress(quiet: bool, wanted: Iterable[MeasureProtocol], images: int) -> Iterator[Callable[[int], None]]:
    """Log the images done every few seconds; yields the function that receives them.

    It raises Interrupted after a signal.
    """
    from vqbench.evaluation.explaining.values import passes
    from vqbench.execution.progress import PLAIN_EVERY
    from vqbench.execution.stopping import Stop
    from vqbench.system.durations import approximate

    settings = list(wanted)
    total = passes(settings) * images
    started = shown = time.monotonic()
    with Stop() as stop:

        def on_progress(done: int) -> None:
            nonlocal shown
            if stop():
                raise Interrupted("stopped while evaluating; run the same command again")
            now = time.monotonic()
            if not quiet and done < total and now - shown > PLAIN_EVERY:
                shown = now
                left = approximate((now - started) / done * (total - done))
                note(f"{done:,}/{total:,} images under {len(settings)} settings, {left} left")

        yield on_progress
