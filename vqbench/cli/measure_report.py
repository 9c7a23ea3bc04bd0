"""Write the page of ``vqbench measure --report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqbench.cli.output import note, prints_to_stderr

if TYPE_CHECKING:
    from vqbench.api.evaluation import Evaluation
    from vqbench.api.measure_models import ModelOptions
    from vqbench.measuring.pair_inputs import ReadingOptions
    from vqbench.reporting.html.measured.page_of_folder import Levels


def write_report(
    evaluation: Evaluation,
    path: Path,
    originals: Path | None,
    made_by: Path | ModelOptions | None,
    options: ReadingOptions,
    device: str,
) -> None:
    """Write the page of an evaluation, and of the images that it is of.

    ``made_by`` are the reconstructions, or the model that makes them.

    Raises StoreError where ``path`` cannot be written, DamagedImage where an image can no longer be decoded.
    """
    from vqbench.reporting.html.measured.page_of_folder import MeasuredTable, measured_page
    from vqbench.system.output import write_text

    def read(names: Sequence[str]) -> Levels:
        from vqbench.api.measure_models import ModelOptions, opened_model
        from vqbench.measuring.pair_inputs import PairInputs
        from vqbench.measuring.shown_pairs import read_pairs

        if isinstance(made_by, ModelOptions):
            return read_pairs(opened_model(originals, made_by, options=options, device=device), names)
        assert originals is not None
        assert made_by is not None  # there are values per image of pairs alone
        return read_pairs(PairInputs.open(originals, made_by, options=options), names)

    table = MeasuredTable(*evaluation.cells(), evaluation.remarks())
    frames = evaluation.values, evaluation.per_image
    with prints_to_stderr():  # of a model, which computes some images again
        page = measured_page(evaluation.label, table, *frames, evaluation.about, read)
    write_text(path, page)
    note(f"page: {path}")
