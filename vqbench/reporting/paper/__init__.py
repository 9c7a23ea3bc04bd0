"""The values printed in the appendix of "Online Clustered Codebook", as strings.

Zheng and Vedaldi, ICCV 2023, arXiv 2307.15139. ``b1.csv`` to ``b4.csv`` beside this file have one
line per printed cell, ``notes.csv`` has remarks about whole tables, ``quotes.csv`` values that others printed of such
models. README.md states their sources.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from vqbench.errors import UsageError, nearest

SOURCE = 'Zheng and Vedaldi, "Online Clustered Codebook", ICCV 2023, arXiv 2307.15139, appendix'

TABLES: Mapping[str, str] = {
    "B.1": "Reconstruction on the validation sets of MNIST and CIFAR10",
    "B.2": "Reconstruction at 256x256 on the validation sets of FFHQ and ImageNet",
    "B.3": "What each part of the method adds",
    "B.4": "Anchor sampling, offline and online",
}


@dataclass(frozen=True)
class PaperValue:
    """One printed cell, in the words of the paper and the names of vqbench.

    ``method`` and ``setting`` are as printed, ``dataset`` and ``metric`` are names of vqbench.

    In B.2 the settings ``latent`` and ``codes`` count as metrics, and ``setting`` is "4 channels" for its second CVQ-
    VAE. In B.3 ``method`` is the letter of the row and ``setting`` its label; in B.4 they are the anchor and "offline"
    or "online". ``printed`` keeps its zeros. ``footnote`` says what is suspicious about the cell, if anything.
    """

    table: str
    method: str
    setting: str
    dataset: str
    metric: str
    printed: str
    footnote: str | None


@cache
def values(table: str) -> tuple[PaperValue, ...]:
    """Return all printed cells of ``table``, in the printed order.

    Raises UsageError for a table that is not in :data:`TABLES`.
    """
    if table not in TABLES:
        raise UsageError(f"no printed values of table {table!r}; {nearest(table, TABLES)}")
    lines = _read(table.lower().replace(".", "") + ".csv")
    return tuple(PaperValue(footnote=line.pop("footnote") or None, **line) for line in lines)


@cache
def elsewhere(table: str, dataset: str) -> tuple[str, ...]:
    """Quote what others printed of such models: a sentence per model and source."""
    quotes: dict[tuple[str, str], list[str]] = {}
    for line in _read("quotes.csv"):
        if (line["table"], line["dataset"]) == (table, dataset):
            model = f"{line['method']}, {line['latent']}, K {line['codes']}"
            quotes.setdefault((line["source"], model), []).append(f"{line['metric']} {line['printed']}")
    return tuple(f"Quoted, {source}: {model}: {', '.join(values)}." for (source, model), values in quotes.items())


@cache
def notes(table: str) -> tuple[str, ...]:
    """Return the remarks about ``table`` as a whole."""
    return tuple(line["note"] for line in _read("notes.csv") if line["table"] == table)


def lookup(table: str, row: str, dataset: str, metric: str, setting: str = "") -> PaperValue | None:
    """Return the printed cell, or None where the paper has none.

    ``row`` is a method of B.1; the letter, the label or both of a row of B.3 ("A", "Baseline VQ-VAE",
    "A Baseline VQ-VAE"); an anchor of B.4, with its ``setting`` as an argument or appended ("random online").
    """
    return _index(table).get((f"{row} {setting}".strip(), dataset, metric))


@cache
def _index(table: str) -> dict[tuple[str, str, str], PaperValue]:
    index = {}
    for value in values(table):
        names = {f"{value.method} {value.setting}".strip()}
        if table == "B.3":
            names |= {value.method, value.setting}
        index.update({(name, value.dataset, value.metric): value for name in names})
    return index


def _read(name: str) -> list[dict[str, str]]:
    text = files(__name__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
