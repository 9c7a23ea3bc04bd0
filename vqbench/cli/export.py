"""``vqbench export``: the model of a run as a folder for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli import trained
from vqbench.cli.options import output_folder
from vqbench.cli.output import note

Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FOLDER", parser=output_folder, help="Folder to write, new or empty."),
]
Reconstructions = Annotated[
    bool, typer.Option("--reconstructions", help="Also write float32 reconstructions and codes of the test split.")
]


def export(
    run: trained.Run,
    row: trained.Row = None,
    output: Output = Path("exported"),
    reconstructions: Reconstructions = False,
    store: shared.StoreToRead = shared.RUNS,
    plugin: shared.Plugins = None,
    device: shared.Device = "auto",
    quiet: shared.Quiet = False,
) -> None:
    """Export a trained model to a folder for use elsewhere.

    It has weights as safetensors, a description with digests, a model card and torch.export programs.

    `vqbench.load_run("FOLDER")` loads it anywhere, and so do the commands that take a run.
    """
    from vqbench.evaluation.exporting.exported_run import export as write

    model = trained.load([run, row] if row else [run], store, device, plugin)
    dataset = model.dataset() if reconstructions else None
    with trained.progress_of(model.spec, "exporting", quiet) as on_progress:
        exported = write(model.coder, model.record, output, dataset, on_progress)
    for sentence in exported.left_out:
        note(sentence)
    for name, size in exported.sizes.items():
        print(f"{exported.path / name}  {_size(size)}")


def _size(count: int) -> str:
    """Format a number of bytes."""
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"
