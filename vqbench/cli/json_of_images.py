"""The JSON of commands about images: measure, explain and codecs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import with_config
from typing_extensions import TypedDict

from vqbench.cli.json_fields import EXACT, Number, SuiteName, meaning


@with_config(EXACT)
class ExplainJson(TypedDict):
    """``vqbench explain RUN --json``."""

    run: Annotated[dict[str, Any], meaning("key, quantizer, dataset and seed")]
    images: Annotated[int, meaning("test images")]
    metrics: Annotated[dict[str, dict[str, Any]], meaning("metric -> value per protocol, change, and its steps")]
    left_out: Annotated[list[str], meaning("settings that were not tried, and why")]


@with_config(EXACT)
class ExplainImagesJson(TypedDict):
    """``vqbench explain ORIGINALS RECONSTRUCTIONS --json``."""

    images: Annotated[int, meaning("pairs of images")]
    metrics: Annotated[dict[str, dict[str, Any]], meaning("metric -> value per protocol, change, and its steps")]
    left_out: Annotated[list[str], meaning("settings that were not tried, and why")]


@with_config(EXACT)
class TargetJson(TypedDict):
    """``vqbench explain ORIGINALS RECONSTRUCTIONS --target METRIC=NUMBER --json``."""

    protocol: Annotated[str, meaning("protocol that the search begins under")]
    target: Annotated[dict[str, Any], meaning("metric, value and the number as it was printed")]
    images: Annotated[int, meaning("pairs that were evaluated")]
    available: Annotated[int, meaning("pairs in all")]
    base: Annotated[float | str | None, meaning("value under the protocol")]
    outside: Annotated[str, meaning("why no value can be this number, or empty")]
    already: Annotated[bool, meaning("whether the protocol prints the number itself")]
    candidates: Annotated[
        list[dict[str, Any]], meaning("settings, value, distance and same_digits, in the order of the table")
    ]
    untried: Annotated[int, meaning("combinations that were not evaluated, since others print the number")]
    left_out: Annotated[list[str], meaning("settings that were not tried, and why")]


@with_config(EXACT)
class ImagesGivenJson(TypedDict):
    """Images that `vqbench measure` was given."""

    path: str
    kind: Annotated[str, meaning("folder, tar shards, lmdb environment, array, data set, or the kind of model")]
    images: Annotated[int, meaning("number of images")]
    digest: Annotated[str, meaning("SHA-256 of the decoded pixels of those measured, whatever their format and order")]


@with_config(EXACT)
class ModelGivenJson(TypedDict):
    """The model that ``vqbench measure --model`` was given."""

    name: Annotated[str, meaning("as it was given; the key of a run")]
    kind: Annotated[str, meaning("function, module, run of vqbench, VQGAN checkpoint, TorchScript and so on")]
    digest: Annotated[str, meaning("SHA-256 of its kind and weights; of a function, of its file")]
    range: Annotated[Literal["-1..1", "0..1", "0..255"], meaning("of the images that it takes and returns")]
    batch_size: Annotated[int, meaning("images that it is given together, at most")]
    device: str


@with_config(EXACT)
class StoredRowJson(TypedDict):
    """The row of a suite's table that `vqbench measure --row` stored."""

    label: str
    suite: SuiteName
    folder: Annotated[str, meaning("where its record is")]


@with_config(EXACT)
class MeasuredValueJson(TypedDict):
    """One value of ``vqbench measure``."""

    protocol: str
    images: Annotated[int, meaning("number of images that it is of")]
    metric: str
    label: Annotated[str, meaning("name in the table")]
    value: Annotated[Number, meaning("in `unit`; nan where the metric does not apply")]
    unit: str
    higher_is_better: bool
    digits: Annotated[int, meaning("decimals worth printing")]
    metric_version: int
    protocol_version: int
    note: Annotated[str, meaning("why it is not ranked, or infinite; may be empty")]


@with_config(EXACT)
class MeasureJson(TypedDict):
    """``vqbench measure --json``, of images that exist or of a model."""

    label: Annotated[str, meaning("as --label gives it")]
    originals: NotRequired[ImagesGivenJson]
    reconstructions: NotRequired[ImagesGivenJson]
    codes: NotRequired[Annotated[dict[str, Any] | None, meaning("path, num_codes and depth; null without codes")]]
    matched_by: NotRequired[Annotated[Literal["name", "position", "model"], meaning("how pairs were matched")]]
    model: NotRequired[Annotated[ModelGivenJson, meaning("with --model, what made the reconstructions")]]
    damaged: NotRequired[Annotated[dict[str, str], meaning("damaged image that was left out -> reason")]]
    resumed_at: NotRequired[Annotated[int, meaning("images that an earlier, interrupted call had measured")]]
    per_image: NotRequired[Annotated[str | None, meaning("CSV file of the values per image")]]
    samples: NotRequired[Annotated[ImagesGivenJson, meaning("images that were compared with the reference")]]
    reference: NotRequired[ImagesGivenJson]
    row: NotRequired[Annotated[StoredRowJson, meaning("with --row, what was stored")]]
    notes: Annotated[list[str], meaning("how the inputs were read, a sentence each")]
    values: list[MeasuredValueJson]


@with_config(EXACT)
class CodecJson(TypedDict):
    """The files of one codec and target, of ``vqbench codecs --json``."""

    row: Annotated[str, meaning("label of the row")]
    codec: Annotated[str, meaning("jpeg, webp, avif or jpeg2000")]
    target_bits: Annotated[int, meaning("bits an image may need")]
    counted: Annotated[str, meaning("whole files, or what of them")]
    bits: Annotated[float, meaning("mean of what is counted, per image")]
    file_bits: Annotated[float, meaning("mean of whole files, per image")]
    settings: Annotated[list[int], meaning("lowest and highest setting of an image")]
    images: int
    over: Annotated[int, meaning("images whose smallest file needs more than the target")]
    reached: Annotated[bool, meaning("whether the mean is within the target; else nothing was measured")]
    folder: Annotated[str, meaning("where the files are")]
    values: list[MeasuredValueJson]
    stored: Annotated[StoredRowJson | None, meaning("with --suite, the row that was stored")]
