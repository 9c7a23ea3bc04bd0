"""A suite: which quantizers are compared on which data sets, under which protocols, in which table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, model_validator

from vqbench.bounds import MOST
from vqbench.errors import UsageError, counted, nearest, shortened
from vqbench.planning import yamlfile
from vqbench.planning.changes import narrowed, of_training
from vqbench.planning.overrides import Override, find_suite, override
from vqbench.planning.schema import (
    Codebook,
    Model,
    PaperRow,
    Plugin,
    Problem,
    QuantizerRow,
    SampleSettings,
    TableSpec,
    arguments,
    distinct,
    filled,
    line,
    shown,
    word,
)
from vqbench.planning.yamlfile import Document, KeyPath
from vqbench.protocol import MEASURE

__all__ = ["Codebook", "PaperRow", "Plugin", "QuantizerRow", "SuiteRow", "SuiteSpec", "TableSpec", "load_suite"]

MAX_ROWS = 10_000
MAX_RUNS = 200_000
LENGTHS = re.compile(r"\d+ (updates|epochs|images)")
BUDGET = ("num_codes", "dim")
DEFAULT_BACKBONE = Plugin.model_validate("conv")  # of the paper; for suites without the key ``backbone``
EXTRA_COLUMNS = ("seconds", "latent", "codes", "parameters", "state")  # columns of a table that are no metrics
Seed = Annotated[int, Field(ge=0, lt=2**32)]


@dataclass(frozen=True)
class SuiteRow:
    """One row of the table, grids expanded: its label leaves out what the table groups by."""

    label: str
    source: int  # position among the suite's ``quantizers``
    quantizer: str
    args: dict[str, Any]
    budget: dict[str, int]


class SuiteSpec(Model):
    """A suite file, checked except for what plugins know; :func:`vqbench.planning.expansion.expand` gives its runs."""

    name: Annotated[str, AfterValidator(word)]  # files are named by it
    title: Annotated[str, AfterValidator(line)] | None = None
    description: str | None = None
    paper: Annotated[str, AfterValidator(line)] | None = None  # the table whose printed values stand beside ours
    train: Plugin  # a training protocol, with arguments of its recipe that differ from it; or another recipe
    measure: Annotated[list[str], AfterValidator(distinct)]
    datasets: Annotated[list[Plugin], AfterValidator(filled)]
    data: Annotated[str, AfterValidator(line)] | None = None  # the folder of the data sets that are folders
    backbone: Plugin = DEFAULT_BACKBONE
    codebook: Codebook = Codebook()
    quantizers: Annotated[list[QuantizerRow], AfterValidator(filled)]
    seeds: Annotated[list[Seed], AfterValidator(distinct)] = Field(default=[42])
    generate: Plugin | None = None  # the recipe of a second stage on every run, which makes images
    samples: SampleSettings = SampleSettings()  # of the second stage
    metrics: Annotated[list[str], AfterValidator(distinct)]
    table: TableSpec = TableSpec()
    reduced: Annotated[dict[str, Any], AfterValidator(arguments)] = Field(default={})  # arguments of the recipe
    changed: list[str] = Field(default=[])  # what --set changed of what is trained, as path=value
    left_out: list[str] = Field(default=[])  # columns of the table whose metric --set left out
    test_images: Annotated[int, Field(ge=2, le=MOST)] | None = None  # measure on the first of the test split alone

    _document: Document = PrivateAttr(default_factory=lambda: Document(None))

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """The suite that ``document`` says. Raises UsageError with the place of what is wrong."""
        if document.data is None:
            raise document.error(
                (),
                "is empty; a suite has at least the keys name, train, measure, datasets, quantizers and metrics",
            )
        try:
            suite = cls.model_validate(document.data)
        except ValidationError as error:
            raise document.error(*_explained(error)) from None
        suite._document = document
        return suite

    def error(self, path: KeyPath, message: str) -> UsageError:
        """An error about what lies at ``path``, with the place in the file that the suite was read from."""
        return self._document.error(path, message)

    def dump(self) -> str:
        """The suite as YAML, changes by ``--set`` included, which reads back as an equal suite."""
        return yamlfile.dump(self.model_dump(exclude_unset=True))

    def reduce(self, test_images: int | None = None, **recipe: Any) -> Self:
        """A smaller copy under another name: other arguments of the recipe (``epochs=10``), or fewer images."""
        try:
            reduced = arguments({**self.reduced, **recipe})
        except Problem as problem:
            raise self.error(("reduced", *problem.path), str(problem)) from None
        copy = self.model_copy(update={"name": f"{self.name}_reduced", "reduced": reduced, "test_images": test_images})
        told = {("reduced", name): f"--{name.replace('_', '-')}" for name in recipe}
        copy._document = Document(self._document.data, self._document.places | told)
        return copy

    @property
    def heading(self) -> str:
        """The title of its tables, which says where this is not the suite of the file."""
        marks = ["REDUCED"] if self.reduced or self.test_images else []
        marks += [f"CHANGED: {shortened(', '.join(self.changed), 100)}"] if self.changed else []
        return " ".join([self.title or self.name, *(f"({mark})" for mark in marks)])

    @property
    def about(self) -> str:
        """The description on one line; empty where it states lengths of a training that was changed."""
        text = " ".join((self.description or "").split())
        longer = any(change.startswith(("train", "datasets", "generate")) for change in self.changed)
        return "" if (self.reduced or longer) and LENGTHS.search(text) else text

    def rows(self) -> list[SuiteRow]:
        """The rows of the table in the order of the file; a grid varies its last list fastest, the budget last."""
        return [row for index in range(len(self.quantizers)) for row in self._grid(index)]

    def _grid(self, source: int) -> list[SuiteRow]:
        written = self.quantizers[source]
        axes = {name: value if isinstance(value, list) else [value] for name, value in written.args.items()}
        axes |= self._budget(written)
        rows = []
        for values in product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            varied = [name for name in axes if len(axes[name]) > 1 and name != self.table.group]
            suffix = ", ".join(f"{name}={_text(chosen[name])}" for name in varied)
            label = (written.label or written.quantizer) + (f" ({suffix})" if suffix else "")
            budget = {name: chosen.pop(name) for name in BUDGET}
            rows.append(SuiteRow(label, source, written.quantizer, chosen, budget))
        return rows

    def _budget(self, row: QuantizerRow) -> dict[str, list[int]]:
        """The suite's budget, but for what the row has of its own."""
        own = row.codebook.model_fields_set if row.codebook else ()
        return {name: getattr(row.codebook if name in own else self.codebook, name) for name in BUDGET}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """What one key says must agree with what the others say, and with the protocols that there are."""
        for index, name in enumerate(self.measure):
            if name not in MEASURE:
                raise Problem(f"unknown measuring protocol {name!r}; {nearest(name, MEASURE)}", "measure", index)
        datasets = [dataset.name for dataset in self.datasets]
        for index, name in enumerate(datasets):
            if name in datasets[:index]:
                raise Problem(f"the data set {name!r} is there twice; remove one", "datasets", index)
        for index, row in enumerate(self.quantizers):
            self._row_agrees(row, index, datasets)
        rows = sum(math.prod(map(len, self._budget(row).values())) * _grid_of(row) for row in self.quantizers)
        if rows > MAX_ROWS:
            raise Problem(f"more than {MAX_ROWS:,} rows, grids expanded; write smaller grids", "quantizers")
        stages = 1 if self.generate is None else 2
        if (runs := rows * len(self.datasets) * len(self.seeds) * stages) > MAX_RUNS:
            raise Problem(
                f"{runs:,} runs ({counted(rows, 'row')}, {counted(len(self.datasets), 'data set')}, "
                f"{counted(len(self.seeds), 'seed')}); a suite has at most {MAX_RUNS:,}: split it, or take fewer seeds",
                "seeds" if "seeds" in self.model_fields_set else "quantizers",
            )
        self._table_agrees()
        return self

    def _row_agrees(self, row: QuantizerRow, index: int, datasets: list[str]) -> None:
        place = ("quantizers", index)
        for dataset, args in row.on.items():
            if dataset not in datasets:
                raise Problem(f"not a data set of this suite; {nearest(dataset, datasets)}", *place, "on", dataset)
            for name in args:
                if isinstance(row.args.get(name), list):
                    raise Problem(f"{name!r} is a grid of this row already; name it once", *place, "on", dataset, name)
        for path, args in [((row.quantizer,), row.args), *((("on", name), args) for name, args in row.on.items())]:
            for name in BUDGET:
                if name in args:
                    what = "the budget is the same for all rows; set it by `codebook`, the suite's or a row's"
                    raise Problem(what, *place, *path, name)

    def _table_agrees(self) -> None:
        known = [*self.metrics, *EXTRA_COLUMNS]
        for index, name in enumerate(self.table.columns or []):
            if name not in known:
                raise Problem(f"no metric of this suite: {name!r}; {nearest(name, known)}", "table", "columns", index)
        if self.table.protocol not in (None, *self.measure):
            what = f"{self.table.protocol!r} is not among `measure`; {nearest(self.table.protocol, self.measure)}"
            raise Problem(what, "table", "protocol")


def load_suite(name_or_path: str | Path, overrides: Iterable[Override] = ()) -> SuiteSpec:
    """The suite of that name or path, changed by ``overrides``. Raises UsageError with the place."""
    document = yamlfile.read(find_suite(name_or_path))
    overrides = list(overrides)
    changed = override(document, overrides, SuiteSpec.model_fields)
    suite = SuiteSpec.from_document(narrowed(document, changed, overrides))
    if not overrides:
        return suite
    return suite.model_copy(update={"changed": [*suite.changed, *of_training(document, suite.quantizers, overrides)]})


def _grid_of(row: QuantizerRow) -> int:
    return math.prod(len(value) for value in row.args.values() if isinstance(value, list))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _explained(error: ValidationError) -> tuple[KeyPath, str]:
    """Where the first thing lies that is wrong, as the file spells it, and what is wrong with it."""
    first = error.errors()[0]
    problem = first.get("ctx", {}).get("error")
    if isinstance(problem, Problem):
        return (*first["loc"], *problem.path), str(problem)
    if first["type"] == "missing":
        return first["loc"], "is missing; add it"
    wanted = first["msg"].removeprefix("Input ").replace("dictionary", "mapping").replace("string", "text")
    return first["loc"], f"is {shown(first['input'])}; it {wanted}"
