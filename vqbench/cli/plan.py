"""``vqbench plan``: the run matrix of a suite, or how long it will take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, suite_or_default
from vqbench.cli.output import print_damage, print_json
from vqbench.errors import UsageError, counted

if TYPE_CHECKING:
    from vqbench.planning.plan import Plan
    from vqbench.reporting.run_matrix import RunMatrix

Cost = Annotated[bool, typer.Option("--cost", help="How long the suite takes, from measured seconds, instead.")]
Jobs = Annotated[
    list[int] | None,
    typer.Option(
        "--jobs", "-j", min=1, max=100_000, metavar="N", help="With --cost: number of runs side by side, simulated."
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        min=1,
        max=100_000,
        metavar="N",
        help="With --cost: GPUs that runs share by time slices; by default those of this machine, or one each.",
    ),
]


def plan(
    suite: shared.Suite = None,
    store: shared.StoreToRead = shared.RUNS,
    results: shared.Results = shared.RESULTS,
    cost: Cost = False,
    jobs: Jobs = None,
    gpus: Gpus = None,
    only: shared.Only = None,
    skip: shared.Skip = None,
    seeds: shared.Seeds = None,
    metrics: shared.Metrics = None,
    sets: shared.Sets = None,
    plugin: shared.RowPlugins = None,
    epochs: shared.Epochs = None,
    batch_size: shared.BatchSize = None,
    subset: shared.Subset = None,
    test_images: shared.TestImages = None,
    as_json: shared.Json = False,
) -> None:
    """List the runs of a suite, what is left and what it costs.

    Image folders are compared by their times only: the next `vqbench run` finds an image that was rewritten in place.
    """
    if jobs and not cost:
        raise UsageError("--jobs needs --cost; without it nothing is simulated")
    if gpus and not cost:
        raise UsageError("--gpus needs --cost; without it nothing is simulated")
    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    planned = selection.plan(suite_or_default(suite, "planning"), store, results)
    if cost:
        _print_forecast(planned, store, results, jobs or [1], gpus, as_json)
    else:
        _print_matrix(planned, store, results, as_json)


def _print_forecast(
    planned: Plan, store: Path, results: Path, side_by_side: list[int], gpus: int | None, as_json: bool
) -> None:
    from vqbench.assets import cache_folder
    from vqbench.planning import forecast
    from vqbench.store.results import ResultStore
    from vqbench.system.environment import count_gpus

    runs, published = (ResultStore(folder, cache_folder() / "records") for folder in (store, results))
    expected = forecast.forecast(planned, runs, published, side_by_side, gpus or count_gpus() or None)
    print_damage(expected.damage)
    if as_json:
        print_json(expected.data)
    else:
        print(expected.text)


def _print_matrix(planned: Plan, store: Path, results: Path, as_json: bool) -> None:
    from vqbench.assets import cache_folder
    from vqbench.reporting.run_matrix import run_matrix, shared_runs
    from vqbench.store.results import ResultStore
    from vqbench.system.output import fold

    runs = ResultStore(store, cache_folder() / "records")
    shared = shared_runs(planned, [runs, ResultStore(results), ResultStore(cache_folder() / "resolved")])
    matrix = run_matrix(planned, runs, shared)
    print_damage(matrix.damage)
    if as_json:
        print_json(matrix_data(matrix))
    else:
        print(matrix_text(matrix))
        for remark in (remark for info in planned.datasets.values() for remark in info.notes):
            print(fold(remark))


def matrix_data(matrix: RunMatrix) -> dict[str, Any]:
    """Convert matrix to JSON data."""
    runs = [
        {
            "row": cell.row,
            "dataset": cell.dataset,
            "seed": cell.seed,
            "key": cell.key,
            "state": cell.state,
            "updates": cell.updates,
            "seconds": cell.seconds,
            "shared_with": list(cell.shared_with),
        }
        for cell in matrix.cells
    ]
    return {"suite": matrix.suite, "runs": runs, "distinct": len(matrix.runs), "left": len(matrix.left)}


def matrix_text(matrix: RunMatrix) -> str:
    """Write ``matrix`` as a plain table with a line that sums it up."""
    from vqbench.system.output import fold, grid, shared_columns

    cells = matrix.cells
    columns: dict[str, list[Any]] = {
        "row": [cell.row for cell in cells],
        "data set": [cell.dataset for cell in cells],
        "seed": [cell.seed for cell in cells],
        "state": [cell.state for cell in cells],
        "updates": ["?" if cell.updates is None else cell.updates for cell in cells],
        "seconds": ["?" if cell.seconds is None else f"{cell.seconds:.0f}" for cell in cells],
        "key": [cell.key for cell in cells],
        "shared with": [", ".join(cell.shared_with) for cell in cells],
    }
    about = shared_columns(columns, "data set", "seed")
    if not any(columns["shared with"]):
        del columns["shared with"]
    summary = (
        f"{counted(len(matrix.cells), 'cell')}, {counted(len(matrix.runs), 'distinct run')}, "
        f"{len(matrix.left):,} not done{_expected(matrix)}"
    )
    if matrix.failed:
        summary += f"; {len(matrix.failed):,} failed: `run --retry-failed` tries them again"
    table = grid(list(columns), zip(*columns.values(), strict=True))
    return "\n".join([*([fold(about), ""] if about else []), table, "", fold(summary)])


def _expected(matrix: RunMatrix) -> str:
    """The expected time of the training that is left."""
    if all(cell.state == "to measure" for cell in matrix.left):
        return ""
    if matrix.training_seconds is None and matrix.rough_seconds is not None:
        minutes = counted(max(1, round(matrix.rough_seconds / 60)), "minute")
        return f"; about {minutes} on two CPU cores, a rough estimate until one run of each kind was trained here"
    if matrix.training_seconds is None:
        return "; training time unknown until one run of each kind was trained here"
    return f"; about {matrix.training_seconds:.0f} s of training, judging by runs of the same kind"
