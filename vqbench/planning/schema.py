"""The parts of a suite: plugins with arguments, rows, budget, table; and what to say when a value cannot be one."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from vqbench.bounds import MOST
from vqbench.errors import nearest, shortened
from vqbench.store.sampling import Reference, Sampling

if TYPE_CHECKING:
    from vqbench.recipe import SecondStage

T = TypeVar("T")
MOST_CODES = 2**24  # of a codebook, and dimensions of a code


class Problem(ValueError):
    """What is wrong with a value, or with what lies at ``path`` below it."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


def word(text: str) -> str:
    """A name that is fit for a file."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", text):
        raise Problem(
            f"{shown(text)} should be up to 64 letters, digits, _ and -, a letter first: files are named by it"
        )
    return text


def line(text: str) -> str:
    """A short text that stays on its line in a table."""
    if not text.strip() or "\n" in text or len(text) > 200:
        raise Problem(f"{shown(text)} should be one line of text, of at most 200 characters")
    return text


def filled(values: list[T]) -> list[T]:
    """A list with something in it."""
    if not values:
        raise Problem("is empty; name at least one")
    return values


def distinct(values: list[T]) -> list[T]:
    """A list with something in it, each once."""
    filled(values)
    seen: set[T] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise Problem(f"{value} is there twice; remove one", index)
        seen.add(value)
    return values


def sizes(values: Any) -> list[int]:
    """One whole number, or a list of them: a grid."""
    for index, value in enumerate(values if isinstance(values, list) else [values]):
        if type(value) is not int or not 1 <= value <= MOST_CODES:
            path = [index] if isinstance(values, list) else []
            raise Problem(f"is {shown(value)}; it should be a whole number, 1 or more, at most {MOST_CODES:,}", *path)
    return distinct(values) if isinstance(values, list) else [values]


def arguments(args: Any, *path: str | int, grid: bool = False) -> dict[str, Any]:
    """Arguments of a plugin: plain values or, in a grid, lists of them. Which ones there are, the plugin knows."""
    if args is not None and not isinstance(args, dict):
        raise Problem(f"is {shown(args)}; the arguments should be a mapping, such as {{beta: 0.25}}", *path)
    for name, value in (args or {}).items():
        items = value if grid and isinstance(value, list) else [value]
        if not all(map(_plain_value, items)):
            kinds = "a finite number, a word, true, false or null" + (", or a list of these" if grid else "")
            raise Problem(f"is {shown(value)}; an argument should be {kinds}", *path, name)
        try:
            distinct([f"{item!r}" for item in items])  # of 1, 1.0 and true, each is another value
        except Problem as problem:
            raise Problem(str(problem), *path, name) from None
    return dict(args or {})


def _plain_value(value: Any) -> bool:
    return isinstance(value, bool | int | str | None) or (isinstance(value, float) and math.isfinite(value))


def shown(value: Any) -> str:
    """A value in an error: short, on one line."""
    return shortened(repr(value))


class Model(BaseModel):
    """A mapping with known keys; a value of the wrong type is an error, never converted."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        return cls._plain(data) if not isinstance(data, cls) else data

    @classmethod
    def _plain(cls, data: Any) -> Any:
        """``data`` as the YAML says it, with the keys of the model."""
        if not isinstance(data, dict):
            raise Problem(f"is {shown(data)}; it should be a mapping of {', '.join(cls.model_fields)}")
        for key in data:
            if key not in cls.model_fields:
                raise Problem(f"unknown key; {nearest(key, cls.model_fields)}", key)
        return data


class Plugin(Model):
    """A plugin by name, with arguments that differ from its defaults: ``conv`` or ``{conv: {hidden: 64}}``."""

    name: str
    args: dict[str, Any] = {}

    @classmethod
    def _plain(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, dict) or len(data) != 1:
            raise Problem(f"is {shown(data)}; it should be a name, or one name with arguments: {{name: {{...}}}}")
        [(name, args)] = data.items()
        return {"name": name, "args": arguments(args, name)}

    @model_serializer
    def _written(self) -> str | dict[str, Any]:
        return {self.name: self.args} if self.args else self.name


class PaperRow(Model):
    """The row of the paper's table that a row of ours corresponds to, in the words of that table."""

    row: Annotated[str, AfterValidator(line)]
    setting: Annotated[str, AfterValidator(line)] | None = None


class Codebook(Model):
    """The budget that all quantizers get: number of codes and dimension; lists are grids."""

    num_codes: Annotated[list[int], BeforeValidator(sizes)] = [512]
    dim: Annotated[list[int], BeforeValidator(sizes)] = [64]


SAMPLE_KEYS = ("count", "reference", "references")  # of samples, beside the settings of its recipe
ROW_KEYS = ("label", "on", "paper", "backbone", "train", "codebook")  # of a row, beside the name of its quantizer


class QuantizerRow(Model):
    """One quantizer of a suite, or a grid: ``vq`` or ``{vq: {beta: [0.25, 1]}, label: VQ, on: ..., paper: ...}``.

    ``backbone``, ``train`` and ``codebook`` are those of this row alone, in the place of the suite's: where whole
    systems are compared, not quantizers in one backbone.
    """

    quantizer: str
    args: dict[str, Any] = {}  # a list as a value stands for one row per item
    label: Annotated[str, AfterValidator(line)] | None = None
    on: dict[str, dict[str, Any]] = {}  # data set -> arguments there
    paper: PaperRow | None = None
    backbone: Plugin | None = None
    train: Plugin | None = None
    codebook: Codebook | None = None

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
    """How many images a second stage samples, with which settings of its recipe, and what they are compared with."""

    count: Annotated[int, Field(ge=2, le=10_000_000)] = 50_000
    reference: Reference = "train"
    references: Annotated[int, Field(ge=2, le=MOST)] | None = None  # the first images of that split; None: all
    settings: dict[str, Any] = {}  # every other key: settings of the recipe's sampler, which only the recipe checks

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
        """The sampling by the recipe ``name``. Raises Problem for a setting that it does not have, or a wrong value."""
        for setting, value in self.settings.items():
            if setting not in recipe.sampler:
                known = nearest(setting, [*recipe.sampler, *SAMPLE_KEYS])
                raise Problem(f"{name} is not sampled by {setting}; {known}", "samples", setting)
            if wrong := recipe.wrong_setting(setting, value):
                raise Problem(f"is {shown(value)}; it should be {wrong}", "samples", setting)
        return Sampling(self.count, self.reference, self.references, {**recipe.sampler, **self.settings})


class TableSpec(Model):
    """The table: blocks of rows, or groups of columns side by side, by data set or by an argument's value."""

    layout: Literal["rows", "side_by_side"] = "rows"
    group: str = "dataset"
    columns: Annotated[list[str], AfterValidator(distinct)] | None = None
    protocol: str | None = None
