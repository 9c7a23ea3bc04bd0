"""Fields that the JSON of several commands has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

EXACT = ConfigDict(extra="forbid", strict=True)
Number = float | int | Literal["inf", "-inf", "nan"] | None  # JSON has no word for infinity


def meaning(text: str) -> Any:
    """Return what a schema says of a field."""
    return Field(description=text)


Key = Annotated[str, meaning("key of the run")]
Row = Annotated[str, meaning("row of the table; a second stage also names its recipe")]
DatasetName = Annotated[str, meaning("data set, as the suite names it")]
SeedNumber = Annotated[int, meaning("seed of the run")]
SuiteName = Annotated[str, meaning("name of the suite")]
