"""The parts of suites: rows, budget, settings of samples, layout of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from vqbench.bounds import MOST
from vqbench.errors import nearest
from vqbench.planning.schema import SIZES, Model, Plugin, Problem, arguments, distinct, line, shown, sizes
from vqbench.store.value_name import Reference, Sampling

if TYPE_CHECKING:
    from vqbench.recipe import SecondStage

BUDGET = ("num_codes", "dim")
ROW_KEYS = ("label", "on", "paper", "backbone", "train", "codebook")  # of a row, beside the name of its quantizer
SAMPLE_KEYS = ("count", "reference", "references")  # of samples, beside the settings of its recipe
SPEEDS = ("encode_speed", "decode_speed")  # of a model, in images per second
# Columns of a table that are no metrics
EXTRA_COLUMNS = ("seconds", "selection_error", "latent", "codes", "parameters", "state", *SPEEDS)
Sizes = Annotated[list[int], BeforeValidator(sizes), WithJsonSchema(SIZES)]


class PaperRow(Model):
    """The row of the paper's table that a row of ours corresponds to, in its words."""

    row: Annotated[str, AfterValidator(line)] = Field(description="the row's name in the paper's table")
    setting: Annotated[str, AfterValidator(line)] | None = Field(
        default=None, description="its setting, in tables that have such a column"
    )


class Codebook(Model):
    """The budget of all quantizers: number of codes and dimension.

    Lists are grids.
    """

    num_codes: Sizes = Field(default=[512], description="codes per position, K")
    dim: Sizes = Field(default=[64], description="channels of the feature map, D")


class QuantizerRow(Model):
    """One quantizer of a suite, or a grid.

    In YAML: ``vq`` or ``{vq: {beta: [0.25, 1]}, label: VQ, on: ..., paper: ...}``. ``backbone``, ``train`` and
    ``codebook`` of a row replace those of the suite, to compare whole systems instead of quantizers in one backbone.
    """

    quantizer: str
    args: dict[str, Any] = Field(default={})  # a list as a value stands for one row per item
    label: Annotated[str, AfterValidator(line)] | None = Field(
        default=None, description="the row's name in tables; without one, the name of the quantizer"
    )
    on: dict[str, dict[str, Any]] = Field(
        default={}, description="arguments of the quantizer on one data set: {cifar10: {scale: 20}}"
    )
    paper: PaperRow | None = Field(default=None, description="the row of the paper's table to compare with")
    backbone: Plugin | None = Field(default=None, description="the row's own backbone, instead of the suite's")
    train: Plugin | None = Field(default=None, description="the row's own training, instead of the suite's")
    codebook: Codebook | None = Field(default=None, description="the row's own budget, instead of the suite's")

    @classmethod
    def _plain(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"quantizer": data}
        if not isinstance(data, dict):
            raise Problem(f"is {shown(data)}; a row should be a quantizer's name, or a mapping such as {{vq: {{}}}}")
        names = [key for key in data if key not in ROW_KEYS]
        if len(names) != 1:
            found = " and ".join(map(repr, names)) or "none"
            raise Problem(
                f"a row names one quantizer, but here is {found}; the other keys of a row are {', '.join(ROW_KEYS)}"
            )
        row = {key: value for key, value in data.items() if key in ROW_KEYS}
        if not isinstance(row.get("on", {}), dict):
            raise Problem("should be a mapping such as {cifar10: {scale: 20}}", "on")
        on = {dataset: arguments(args, "on", dataset) for dataset, args in row.pop("on", {}).items()}
        return {**row, "on": on, "quantizer": names[0], "args": arguments(data[names[0]], names[0], grid=True)}

    @model_serializer
    def _written(self) -> str | dict[str, Any]:
        rest: dict[str, Any] = {
            "label": self.label,
            "on": self.on,
            "paper": self.paper and self.paper.model_dump(exclude_none=True),
        }
        rest |= {"backbone": self.backbone and self.backbone.model_dump()}
        rest |= {"train": self.train and self.train.model_dump()}
        rest |= {"codebook": self.codebook and self.codebook.model_dump(exclude_unset=True)}
        return {self.quantizer: self.args} | {key: value for key, value in rest.items() if value}


class SampleSettings(Model):
    """The number, settings and reference of a second stage's samples."""

    count: Annotated[int, Field(ge=2, le=10_000_000)] = Field(default=50_000, description="images to generate")
    reference: Reference = Field(default="train", description="the split that samples are compared with")
    references: Annotated[int, Field(ge=2, le=MOST)] | None = Field(
        default=None, description="compare with the first images of that split alone; null: with all"
    )
    settings: dict[str, Any] = Field(default={})  # every other key; only the recipe checks them

    @classmethod
    def _plain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return super()._plain(data)
        own = {key: value for key, value in data.items() if key in SAMPLE_KEYS}
        settings = {key: value for key, value in data.items() if key not in SAMPLE_KEYS and value is not None}
        return {**own, "settings": arguments(settings)} if settings else own

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        settings: dict[str, Any] = written.pop("settings", {})
        return {**written, **settings}

    def sampling(self, name: str, recipe: type[SecondStage]) -> Sampling:
        """Return the sampling by the recipe ``name``.

        Raises Problem for a setting that the recipe does not have, or a wrong value.
        """
        for setting, value in self.settings.items():
            if setting not in recipe.sampler:
                known = nearest(setting, [*recipe.sampler, *SAMPLE_KEYS])
                raise Problem(f"{name} is not sampled by {setting}; {known}", "samples", setting)
            if wrong := recipe.wrong_setting(setting, value):
                raise Problem(f"is {shown(value)}; it should be {wrong}", "samples", setting)
        return Sampling(self.count, self.reference, self.references, {**recipe.sampler, **self.settings})


class TableSpec(Model):
    """The layout of the table: blocks of rows, or groups of columns.

    Both are by data set, by the updates of a training, by the value of an argument (of the quantizers or the training),
    or by several of these.
    """

    layout: Literal["rows", "side_by_side"] = Field(
        default="rows", description="groups as blocks of rows, or as groups of columns"
    )
    group: str | Annotated[list[str], AfterValidator(distinct)] = Field(
        default="dataset",
        description=(
            "what makes a group: dataset, updates, or an argument of the quantizers or of the training, such as "
            "learning_rate; a list of these: each combination"
        ),
    )
    columns: Annotated[list[str], AfterValidator(distinct)] | None = Field(
        default=None, description="metrics and facts of runs to show, in this order; null: all metrics"
    )
    protocol: str | None = Field(
        default=None, description="the measuring protocol whose values are shown; null: the first of measure"
    )

    @property
    def grouped_by(self) -> list[str]:
        """The names that make a group: dataset, updates, or arguments."""
        return [self.group] if isinstance(self.group, str) else self.group

    def group_of(self, dataset: str, args: Mapping[str, Any]) -> Any:
        """Return the group of a run: a name or value or, of several, text."""
        values = {**args, "dataset": dataset}
        if isinstance(self.group, str):
            return values.get(self.group)
        return ", ".join(dataset if name == "dataset" else f"{name} = {values.get(name)}" for name in self.group)

    def group_text(self, group: Any) -> str:
        """Return a value of :meth:`group_of` as a heading, such as "dim = 4"."""
        if self.group == "updates":
            return f"{group:,} updates"
        return f"{self.group} = {group}" if isinstance(self.group, str) else str(group)
