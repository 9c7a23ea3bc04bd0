"""Suites: which quantizers are compared, on which data, in which table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from vqbench.bounds import MOST
from vqbench.errors import UsageError, counted, nearest, shortened
from vqbench.planning import yamlfile
from vqbench.planning.schema import (
    Model,
    Plugin,
    Problem,
    arguments,
    distinct,
    filled,
    line,
    shown,
    word,
)
from vqbench.planning.suite_parts import BUDGET, EXTRA_COLUMNS, Codebook, QuantizerRow, SampleSettings, TableSpec
from vqbench.planning.yamlfile import Document, KeyPath
from vqbench.protocol import MEASURE

MAX_ROWS = 10_000
MAX_RUNS = 200_000
LENGTHS = re.compile(r"\d+ (updates|epochs|images)")
LONGEST_CHANGE = 40  # letters of a changed setting that is shown with its value
DEFAULT_BACKBONE = Plugin.model_validate("conv")  # of the paper; for suites without the key ``backbone``
Seed = Annotated[int, Field(ge=0, lt=2**32)]


@dataclass(frozen=True)
class SuiteRow:
    """One row of the table, grids expanded.

    Its label leaves out what the table groups by.
    """

    label: str
    source: int  # position among the suite's ``quantizers``
    quantizer: str
    args: dict[str, Any]
    budget: dict[str, int]


class SuiteSpec(Model):
    """A suite file, checked except for plugins and their arguments.

    :func:`vqbench.planning.expansion.expand` checks these.
    """

    name: Annotated[str, AfterValidator(word)] = Field(description="the suite's name; files are named by it")
    title: Annotated[str, AfterValidator(line)] | None = Field(default=None, description="the heading of its tables")
    description: str | None = Field(default=None, description="what is compared and why, shown with the table")
    paper: Annotated[str, AfterValidator(line)] | None = Field(
        default=None, description="the paper's table whose printed values are shown beside ours: B.1 to B.4"
    )
    train: Plugin = Field(
        description="a training protocol or a recipe, with arguments of the recipe: {clean: {epochs: 6}}"
    )
    measure: Annotated[list[str], AfterValidator(distinct)] = Field(description="protocols to evaluate under")
    datasets: Annotated[list[Plugin], AfterValidator(filled)] = Field(description="data sets to train and test on")
    data: Annotated[str, AfterValidator(line)] | None = Field(
        default=None,
        description=(
            "the folder of images for data sets that are folders, such as photos; a relative one is looked for beside "
            "the suite's file, then in the current folder"
        ),
    )
    backbone: Plugin = Field(default=DEFAULT_BACKBONE, description="encoder and decoder, the same for all rows")
    codebook: Codebook = Field(default=Codebook(), description="the budget of all rows; lists are grids")
    quantizers: Annotated[list[QuantizerRow], AfterValidator(filled)] = Field(
        description="the rows of the table; a list as the value of an argument is a grid, one row per item"
    )
    parent: Annotated[str, AfterValidator(line)] | None = Field(
        default=None,
        description="the label of the row on whose trained runs rows trained by swap or atomic build, with its encoder",
    )
    seeds: Annotated[list[Seed], AfterValidator(distinct)] = Field(
        default=[42], description="seeds; every row is trained once per seed"
    )
    generate: Plugin | None = Field(
        default=None, description="the recipe of a second stage, which is trained on every run and generates images"
    )
    samples: SampleSettings = Field(default=SampleSettings(), description="what the second stage generates")
    metrics: Annotated[list[str], AfterValidator(distinct)] = Field(description="metrics to compute")
    table: TableSpec = Field(default=TableSpec(), description="the layout of the table")
    reduced: Annotated[dict[str, Any], AfterValidator(arguments)] = Field(
        default={}, description="arguments of every recipe; written by --epochs, --batch-size and --subset"
    )
    changed: list[str] = Field(default=[], description="training settings changed by --set; written by vqbench")
    file_rows: int | None = Field(
        default=None, description="rows of the suite's file, where fewer were chosen; written by vqbench"
    )
    left_out: list[str] = Field(default=[], description="columns whose metric --set removed; written by vqbench")
    test_images: Annotated[int, Field(ge=2, le=MOST)] | None = Field(
        default=None, description="evaluate on the first test images alone; written by --test-images"
    )

    _document: Document = PrivateAttr(default_factory=lambda: Document(None))

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read a suite from ``document``.

        Raises UsageError with the place of a wrong value.
        """
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
        """An error about the value at ``path``, with its place in the suite's file."""
        return self._document.error(path, message)

    def dump(self) -> str:
        """Return the suite as YAML, with its overrides.

        It reads back as an equal suite.
        """
        return yamlfile.dump(self.model_dump(exclude_unset=True))

    def reduce(self, test_images: int | None = None, **recipe: Any) -> Self:
        """Return a smaller copy under another name.

        It has other arguments of the recipe (``epochs=10``), or fewer test images.
        """
        try:
            reduced = arguments({**self.reduced, **recipe})
        except Problem as problem:
            raise self.error(("reduced", *problem.path), str(problem)) from None
        copy = self.model_copy(update={"name": f"{self.name}_reduced", "reduced": reduced, "test_images": test_images})
        return copy.placed({("reduced", name): f"--{name.replace('_', '-')}" for name in recipe})

    def placed(self, places: Mapping[KeyPath, str]) -> Self:
        """Return a copy whose errors name these places of values."""
        copy = self.model_copy()
        copy._document = Document(self._document.data, {**self._document.places, **places})
        return copy

    @property
    def name_in_file(self) -> str:
        """The name in its file; a reduced copy has another one."""
        return self.name.removesuffix("_reduced") if self.reduced or self.test_images else self.name

    @property
    def heading(self) -> str:
        """The title of its tables, with the differences from the suite's file.

        A reduced copy has its name instead where the title states a length or a number of images.
        """
        rows = len(self.rows())
        marks = ["REDUCED"] if self.reduced or self.test_images else []
        marks += [f"{rows} of {self.file_rows} rows"] if self.file_rows else []
        marks += [f"CHANGED: {shortened(', '.join(self.changed), 100)}"] if self.changed else []
        return " ".join([self.plain_title, *(f"({mark})" for mark in marks)])

    @property
    def plain_title(self) -> str:
        """The title without the differences from the suite's file."""
        title = self.title or self.name
        return self.name if self.reduced and LENGTHS.search(title) else title

    @property
    def differences(self) -> list[str]:
        """The differences from the suite's file, in words."""
        reduced = [f"{name.replace('_', ' ')} {value}" for name, value in self.reduced.items()]
        reduced += [f"the first {self.test_images:,} test images"] if self.test_images else []
        rows = [f"{len(self.rows())} of {self.file_rows} rows"] if self.file_rows else []
        changed = [each if len(each) <= LONGEST_CHANGE else each.partition("=")[0] for each in self.changed]
        return [*(f"reduced to {each}" for each in reduced), *rows, *(f"changed {each}" for each in changed)]

    @property
    def about(self) -> str:
        """The description on one line.

        Empty for a reduced copy if it states the length of the whole training.
        """
        text = " ".join((self.description or "").split())
        return "" if self.reduced and LENGTHS.search(text) else text

    def rows(self) -> list[SuiteRow]:
        """The rows of the table in the order of the file.

        A grid varies its last list fastest, and the budget last.
        """
        return [row for index in range(len(self.quantizers)) for row in self._grid(index)]

    def _grid(self, source: int) -> list[SuiteRow]:
        written = self.quantizers[source]
        axes = {name: value if isinstance(value, list) else [value] for name, value in written.args.items()}
        axes |= self._budget(written)
        rows = []
        for values in product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            varied = [name for name in axes if len(axes[name]) > 1 and name not in self.table.grouped_by]
            suffix = ", ".join(f"{name}={_text(chosen[name])}" for name in varied)
            label = (written.label or written.quantizer) + (f" ({suffix})" if suffix else "")
            budget = {name: chosen.pop(name) for name in BUDGET}
            rows.append(SuiteRow(label, source, written.quantizer, chosen, budget))
        return rows

    def _budget(self, row: QuantizerRow) -> dict[str, list[int]]:
        """The suite's budget, with the row's own numbers in the place of the suite's."""
        own = row.codebook.model_fields_set if row.codebook else ()
        return {name: getattr(row.codebook if name in own else self.codebook, name) for name in BUDGET}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Check that the keys agree with each other, and name known protocols."""
        for index, name in enumerate(self.measure):
            if name not in MEASURE:
                raise Problem(f"unknown measuring protocol {name!r}; {nearest(name, MEASURE)}", "measure", index)
        datasets = [dataset.name for dataset in self.datasets]
        for index, name in enumerate(datasets):
            if name in datasets[:index]:
                raise Problem(f"the data set {name!r} is listed twice; remove one", "datasets", index)
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


def _grid_of(row: QuantizerRow) -> int:
    return math.prod(len(value) for value in row.args.values() if isinstance(value, list))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _explained(error: ValidationError) -> tuple[KeyPath, str]:
    """The path of the first wrong value, as in the file, and what is wrong with it."""
    first = error.errors()[0]
    problem = first.get("ctx", {}).get("error")
    if isinstance(problem, Problem):
        return (*first["loc"], *problem.path), str(problem)
    if first["type"] == "missing":
        return first["loc"], "is missing; add it"
    wanted = first["msg"].removeprefix("Input ").replace("dictionary", "mapping").replace("string", "text")
    return first["loc"], f"is {shown(first['input'])}; it {wanted}"
