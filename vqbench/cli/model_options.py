"""Options of the commands that take a model in place of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli.options import given_path, whole_number
from vqbench.errors import UsageError

if TYPE_CHECKING:
    from vqbench.api.measure_models import ModelOptions

Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Reconstruct ORIGINALS by this: FILE.py:name, package.module:name, a folder of diffusers, a checkpoint of "
        "taming-transformers, a program of torch.export or TorchScript, or a RUN.",
    ),
]
Dataset = Annotated[
    str | None, typer.Option(metavar="NAME", help="With --model: the test split of a data set, in place of ORIGINALS.")
]
ModelRange = Annotated[
    str | None,
    typer.Option(
        metavar="LOW..HIGH", show_default="-1..1", help="Of images and output of the model: -1..1, 0..1, 0..255."
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(1),
        show_default="as many as fit 2**20 pixels",
        help="Images the model gets together.",
    ),
]
Trust = Annotated[bool, typer.Option("--trust", help="Load a program of torch.export or TorchScript, which is code.")]


def chosen_model(
    model: str | None, dataset: str | None, model_range: str | None, batch_size: int | None, trust: bool, runs: Path
) -> ModelOptions | None:
    """Return the model that the options describe, None without one.

    ``runs`` is the folder that the key of a run is looked up in.

    Raises UsageError for options of a model without one.
    """
    from vqbench.api.measure_models import ModelOptions

    if model is not None:
        return ModelOptions(model, dataset, model_range, batch_size, trust, runs)
    given: Mapping[str, Any] = {
        "--dataset": dataset,
        "--model-range": model_range,
        "--batch-size": batch_size,
        "--trust": trust or None,
    }
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option}: with --model alone; add it, or leave {option} out")
    return None


def only_originals(words: Sequence[str]) -> Path | None:
    """Return the path of the originals, None without one.

    Raises UsageError for more words.
    """
    if len(words) > 1:
        raise UsageError(f"{' '.join(words)}: with --model, give ORIGINALS alone; it makes the reconstructions")
    return given_path(words[0]) if words else None
