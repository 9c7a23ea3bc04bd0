"""``vqbench sample``: a grid of images from a trained generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli import trained as trained_run
from vqbench.cli.options import add_plugins, output_file

Count = Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, max=10_000, help="Number of images.")]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", parser=output_file, help="PNG file to write.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Diffusion: number of DDIM steps.")]
Eta = Annotated[float | None, typer.Option(metavar="X", min=0, max=1, help="Diffusion: noise of each step.")]
Temperature = Annotated[
    float | None, typer.Option(metavar="X", min=0.01, max=10, help="Autoregressive prior: temperature.")
]


def sample(
    run: trained_run.Run,
    row: trained_run.Row = None,
    store: shared.StoreToRead = shared.RUNS,
    count: Count = 64,
    output: Output = Path("samples.png"),
    steps: Steps = None,
    eta: Eta = None,
    temperature: Temperature = None,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
) -> None:
    """Sample images from a trained generator.

    All runs of a seed and data set start from the same noise, so their images can be compared one by one.
    """
    from vqbench.api.finished_runs import find_run
    from vqbench.evaluation.trained_model import load_generator, sample_grid
    from vqbench.store.results import ResultStore
    from vqbench.system.stored_files import write_atomically

    add_plugins(plugin)
    given = {"steps": steps, "eta": eta, "temperature": temperature}
    settings = {name: value for name, value in given.items() if value is not None}
    found, record = find_run(ResultStore(store), run, row, second_stage=True)
    trained = load_generator(found, record.run, device, settings)
    write_atomically(output, sample_grid(trained, count))
    print(output)
