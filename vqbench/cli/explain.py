"""``vqbench explain``: which protocol setting changes which value of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli import trained as trained_run
from vqbench.cli.options import add_plugins, whole_number
from vqbench.cli.output import print_json

if TYPE_CHECKING:
    from vqbench.evaluation.protocol_differences import Explanation
    from vqbench.evaluation.trained_model import TrainedModel

Metrics = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", show_default="all but rfid and kid, which take minutes", help="Explain this metric."),
]
TestImages = Annotated[
    int | None,
    typer.Option(metavar="N", parser=whole_number(2), show_default="all", help="Evaluate on the first test images."),
]


def explain(
    run: trained_run.Run,
    row: trained_run.Row = None,
    store: shared.StoreToRead = shared.RUNS,
    metrics: Metrics = None,
    test_images: TestImages = None,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
    as_json: shared.Json = False,
) -> None:
    """Show how each protocol setting changes the values of a run."""
    from vqbench import assets, registry
    from vqbench.api.finished_runs import find_run
    from vqbench.evaluation.trained_model import load_model
    from vqbench.reporting.protocol_differences import data, text
    from vqbench.store.results import ResultStore

    add_plugins(plugin)
    for name in metrics or ():  # before anything is printed as begun
        registry.load("metrics", name)
    with assets.no_downloads(offline):
        found, record = find_run(ResultStore(store), run, row)
        trained = load_model(found, record, device)
        explanation = _explain(trained, metrics or (), test_images, quiet)
    if as_json:
        print_json(data(explanation))
    else:
        print(text(explanation))


def _explain(trained: TrainedModel, metrics: Sequence[str], test_images: int | None, quiet: bool) -> Explanation:
    """Explain the values of ``trained`` with a progress bar.

    Raises Interrupted after a signal.
    """
    from vqbench.evaluation import explain as explaining
    from vqbench.execution.preparation import fetch

    with trained_run.progress_of(trained.run, "evaluating", quiet) as on_progress:
        return explaining.explain(
            trained.run,
            trained.model,
            trained.dataset,
            trained.engine.device,
            metrics,
            test_images,
            fetch=fetch,
            on_progress=on_progress,
        )
