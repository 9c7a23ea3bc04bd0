"""The values of some images, as data frames and as a table in several formats."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vqbench.errors import StoreError, UsageError, VqbenchError, counted, nearest

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame

WIDTH = 80  # of a printed table
FORMATS = {"text": "simple", "markdown": "pipe", "latex": "latex_booktabs", "csv": "csv"}  # name -> tabulate's


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The values of some images, and the conditions that they are measured under.

    Attributes:
        values: One row per protocol and metric: ``protocol``, ``images``, ``metric``, ``label``, ``value`` in ``unit``
            (NaN where it does not apply), ``higher_is_better``, ``digits`` worth printing, ``metric_version``,
            ``protocol_version``, and ``note``, what a reader of the value must know.
        per_image: One row per protocol and image, in the order of the images: ``protocol``, ``image`` (from 0), for
            files their ``name``, and a column for each metric that has a value per image.
        label: Name of what was evaluated; may be empty.
        notes: How the inputs were read, a sentence each.
        about: Facts about inputs and settings, as JSON data.
    """

    values: DataFrame
    per_image: DataFrame
    label: str = ""
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> float:
        """Return the value of ``metric``.

        Raises UsageError for an unknown metric, and if several protocols have it.
        """
        found = self.values[self.values.metric == metric]
        if found.empty:
            raise UsageError(f"metric {metric!r} was not evaluated; {nearest(metric, self.values.metric.unique())}")
        if len(found) > 1:
            raise UsageError(
                f"{metric!r} was evaluated under {' and '.join(found.protocol)}; choose a row of `.values`"
            )
        return float(found.value.iloc[0])

    def table(self, style: str = "text") -> str:
        """Return the values: one row per metric, one column per protocol.

        Args:
            style: text, with notes below; markdown; latex; or csv, with all digits and one row per value.
        """
        from tabulate import tabulate

        require_format(style)
        if style == "csv":
            frame = self.values.copy()
            if self.label:
                frame.insert(0, "model", self.label)
            text: str = frame.to_csv(index=False, lineterminator="\n")
            return text.rstrip("\n")
        head, rows = self.cells()
        align = ["left", *["right"] * (len(head) - 2), "left"]
        drawn = tabulate(rows, head, FORMATS[style], disable_numparse=True, colalign=align)
        lines = [line.rstrip() for line in drawn.splitlines()]
        title = counted(int(self.values.images.iloc[0]), "image")
        label = " ".join(self.label.split())  # one line, so that a comment of LaTeX holds it
        title = f"{label}: {title}" if label else title
        comment = "% " if style == "latex" else ""
        below = [line for note in self.remarks() for line in _wrapped(note, WIDTH - len(comment))]
        if style == "markdown":
            below = [f"{note}  " for note in self.remarks()]
        return "\n".join([comment + title, "", *lines, "", *(comment + line for line in below)]).rstrip()

    def joined(self, other: Evaluation) -> Evaluation:
        """Return the values of both, with the values per image of this one."""
        import pandas as pd

        values = pd.concat([self.values, other.values], ignore_index=True)
        notes = list(dict.fromkeys([*self.notes, *other.notes]))
        damaged = {**self.about.get("damaged", {}), **other.about.get("damaged", {})}
        about = {**other.about, **self.about, "damaged": damaged, "notes": notes}
        return Evaluation(values, self.per_image, self.label, notes, about)

    def __repr__(self) -> str:
        return self.table()

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the head and the rows of the table, as text."""
        protocols = list(dict.fromkeys(self.values.protocol))
        rows = []
        for _, same in self.values.groupby("metric", sort=False):
            first = same.iloc[0]
            values = dict(zip(same.protocol, same.value, strict=True))
            cells = [_cell(values.get(name, float("nan")), first.digits) for name in protocols]
            name = f"{first.label} ({first.unit})" if first.unit else first.label
            rows.append([name, *cells, "higher" if first.higher_is_better else "lower"])
        return ["metric", *protocols, "better"], rows

    def remarks(self) -> list[str]:
        """Return the sentences below the table."""
        from vqbench.protocol import measuring

        protocols = [f"{name}: {measuring(name).summary}." for name in dict.fromkeys(self.values.protocol)]
        return [*protocols, *(note for note in self.values.note.unique() if note), *self.notes]


class NotKept(StoreError):
    """Images were measured, but something cannot be written, as on a full disk.

    Attributes:
        evaluation: The values.
        exit_code: That of the error while writing.
    """

    def __init__(self, evaluation: Evaluation, error: VqbenchError, what: str = "values") -> None:
        super().__init__(f"{error}; measured, but not stored: the {what}")
        self.evaluation, self.exit_code = evaluation, error.exit_code


def require_format(style: str) -> None:
    """Raise UsageError unless ``style`` is a format of tables."""
    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}; {nearest(style, FORMATS)}")


def frame_of_values(rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Return :attr:`Evaluation.values`."""
    import pandas as pd

    return pd.DataFrame(list(rows))


def frame_per_image(
    images: Mapping[str, np.ndarray], protocols: Sequence[str], names: Sequence[str] | None, count: int
) -> DataFrame:
    """Return :attr:`Evaluation.per_image`.

    ``images`` are values by ``protocol/metric``, (N,) each.
    """
    import pandas as pd

    frames = []
    for protocol in protocols:
        columns = {
            name.removeprefix(f"{protocol}/"): values
            for name, values in images.items()
            if name.startswith(f"{protocol}/")
        }
        named = {} if names is None else {"name": list(names)}
        frames.append(pd.DataFrame({"protocol": protocol, "image": range(count), **named, **columns}))
    return pd.concat(frames, ignore_index=True)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def _cell(value: float, digits: int) -> str:
    return "–" if value != value else f"{value:.{digits}f}"
