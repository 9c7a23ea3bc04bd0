"""The JSON that commands print: every key, its type and its meaning.

Keys are snake_case. Keys that are names of plugins, protocols or files stay as these are. ``docs/reference/json.md`` is
made from this module, and a test validates the output of every command against it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

EXACT = ConfigDict(extra="forbid", strict=True)
Number = float | int | Literal["inf", "-inf", "nan"] | None  # JSON has no word for infinity


def _about(text: str) -> Any:
    return Field(description=text)


Key = Annotated[str, _about("key of the run")]
Row = Annotated[str, _about("row of the table; a second stage also names its recipe")]
DatasetName = Annotated[str, _about("data set, as the suite names it")]
SeedNumber = Annotated[int, _about("seed of the run")]
SuiteName = Annotated[str, _about("name of the suite")]


@with_config(EXACT)
class ListedJson(TypedDict):
    """One entry of ``vqbench list KIND --json``, which is an array."""

    name: Annotated[str, _about("name; of runs, the key")]
    about: Annotated[str, _about("what it is, or BROKEN and why; of runs, suite and row")]
    origin: NotRequired[Annotated[str, _about("plugins: built-in, a file, a package, or `preset of NAME`")]]
    year: NotRequired[Annotated[int | None, _about("quantizers: year of the paper")]]
    paper: NotRequired[Annotated[str, _about("quantizers: authors, title, place, year, arXiv number")]]
    use: NotRequired[Annotated[Literal["train", "measure"], _about("protocols: what it is a protocol of")]]
    dataset: NotRequired[Annotated[str, _about("runs: data set")]]
    quantizer: NotRequired[Annotated[str, _about("runs: quantizer")]]
    recipe: NotRequired[Annotated[str, _about("runs: recipe")]]
    seed: NotRequired[Annotated[int, _about("runs: seed")]]
    date: NotRequired[Annotated[str | None, _about("runs: when the record was written, UTC")]]


@with_config(ConfigDict(extra="allow", strict=True))
class InfoJson(TypedDict):
    """``vqbench info KIND NAME --json`` of a plugin.

    Suites print their keys, and protocols their settings with value and reason.
    """

    name: Annotated[str, _about("name")]
    file: Annotated[str | None, _about("file of its source")]
    version: NotRequired[Annotated[int, _about("raised when a change of the code changes results")]]
    preset_of: NotRequired[Annotated[str, _about("presets: plugin and arguments")]]
    arguments: NotRequired[Annotated[dict[str, Any], _about("argument -> default")]]
    about: Annotated[str | None, _about("docstring")]


@with_config(EXACT)
class PlannedJson(TypedDict):
    """One run of ``vqbench plan``."""

    row: Row
    dataset: DatasetName
    seed: SeedNumber
    key: Key
    state: Annotated[str, _about("done, to do, to measure, failed, or what is damaged")]
    updates: Annotated[int | None, _about("updates of the optimizer; null if unknown")]
    seconds: Annotated[float | None, _about("of training, measured or expected; null if unknown")]
    shared_with: Annotated[list[str], _about("other suites with the same run")]


@with_config(EXACT)
class PlanJson(TypedDict):
    """``vqbench plan SUITE --json``."""

    suite: SuiteName
    runs: Annotated[list[PlannedJson], _about("one per cell; several cells may be one run")]
    distinct: Annotated[int, _about("number of distinct runs")]
    left: Annotated[int, _about("of these, those that `vqbench run` would work on")]


@with_config(EXACT)
class ForecastDeviceJson(TypedDict):
    """What a suite takes on one kind of device, from measured seconds."""

    device: str
    left: Annotated[int, _about("runs that are not done")]
    counted: Annotated[int, _about("of these, those with known times")]
    training_seconds: float
    measuring_seconds: float
    not_counted: Annotated[dict[str, int], _about("kind of run without a measured time -> number")]
    measuring_not_counted: dict[str, int]
    measuring_by_group: Annotated[
        dict[str, dict[str, Any]],
        _about("group of metrics -> values left, runs, seconds, runs not_timed, at_most; groups overlap"),
    ]
    jobs: Annotated[list[dict[str, Any]], _about("per --jobs: makespan, busy, at_least, device_hours")]


@with_config(EXACT)
class ForecastJson(TypedDict):
    """``vqbench plan SUITE --cost --json``."""

    suite: SuiteName
    left: Annotated[int, _about("runs that are not done")]
    devices: list[ForecastDeviceJson]


@with_config(EXACT)
class RunStateJson(TypedDict):
    """One run of ``vqbench status``."""

    row: Row
    dataset: DatasetName
    seed: SeedNumber
    key: Key
    state: Annotated[str, _about("done, running, stopped, failed, not begun ..., with the reason")]
    seconds: Annotated[float | None, _about("of training; null without a record")]
    date: Annotated[str | None, _about("of the record, UTC; null without one")]


@with_config(EXACT)
class OtherSettingsJson(TypedDict):
    """Settings under which the store has other runs of the suite."""

    finished: Annotated[int, _about("of these runs, those with a record")]
    runs: Annotated[int, _about("number of distinct runs")]
    command: Annotated[str, _about("command that shows them")]


@with_config(EXACT)
class StatusJson(TypedDict):
    """``vqbench status SUITE --json``."""

    suite: SuiteName
    counts: Annotated[dict[str, int], _about("state without its reason -> number of distinct runs")]
    runs: list[RunStateJson]
    next: Annotated[str, _about("command that does what is left, or shows the table")]
    other_settings: list[OtherSettingsJson]


@with_config(EXACT)
class TableCellJson(TypedDict):
    """One cell of a table."""

    dataset: DatasetName
    setting: Annotated[str, _about("value of the argument that the table is grouped by")]
    row: Annotated[str, _about("label of the row")]
    metric: Annotated[str, _about("name of the metric or column")]
    values: Annotated[list[Number], _about("one per seed, unrounded")]
    seeds: Annotated[list[int], _about("seed of each value")]
    status: Annotated[Literal["ok", "missing", "failed", "none"], _about("none: not defined for the row")]
    reason: Annotated[str, _about("why there is no value")]
    paper: Annotated[str | None, _about("printed value, digit for digit")]
    verdict: Annotated[str | None, _about("of the comparison with the printed value")]
    rank: Annotated[Literal["best", "second"] | None, _about("among the ranked rows of its block")]
    marks: Annotated[list[Literal["B", "M", "S", "D", "E"]], _about("letters that `marks` of the table explains")]
    unranked: Annotated[str, _about("why it is not ranked although it has values")]
    significant: Annotated[bool, _about("best, and ahead of every other ranked row beyond chance")]
    images: Annotated[int | None, _about("images that each value was measured on")]
    results: Annotated[list[str], _about("folders of the records")]
    notes: list[str]


@with_config(EXACT)
class TableJson(TypedDict):
    """One table of ``vqbench table SUITE --json``, an array of them.

    It has one table per measuring protocol.
    """

    title: str
    protocol: Annotated[str, _about("full name of the measuring protocol of all values")]
    images: Annotated[str, _about("number of images behind the values, in words")]
    marks: Annotated[dict[str, str], _about("letter -> meaning")]
    footnotes: list[str]
    cells: list[TableCellJson]


@with_config(EXACT)
class ChangeJson(TypedDict):
    """One metric of one kind of run in both states of ``vqbench diff``."""

    what: Annotated[str, _about("data set, quantizer and its arguments")]
    protocol: str
    metric: str
    seeds: Annotated[list[int], _about("seeds that both states have")]
    images: Annotated[int, _about("images that were compared one by one; 0 for none")]
    before: Number
    after: Number
    low: NotRequired[Annotated[Number, _about("lower end of the 95 % interval of the difference")]]
    high: NotRequired[Annotated[Number, _about("upper end")]]
    p_value: NotRequired[Number]
    p_value_holm: Annotated[Number, _about("after Holm's correction over all comparisons")]
    verdict: str


@with_config(EXACT)
class DiffJson(TypedDict):
    """``vqbench diff A B --json``."""

    a: str
    b: str
    changes: list[ChangeJson]
    new: Annotated[list[str], _about("kinds of run that only B has")]
    gone: Annotated[list[str], _about("kinds of run that only A has")]
    suites: Annotated[dict[str, list[str]], _about("state -> suites of its runs, with the options of their settings")]


@with_config(EXACT)
class GoldenJson(TypedDict):
    """One group of golden values."""

    name: str
    state: Annotated[str, _about("PASS, FAIL, or why it was not computed")]
    about: str


@with_config(EXACT)
class DoctorJson(TypedDict):
    """``vqbench doctor --json``."""

    versions: Annotated[dict[str, str], _about("package -> version")]
    processor: str
    threads: NotRequired[Annotated[int, _about("of torch")]]
    gpus: NotRequired[list[str]]
    commit: Annotated[str | None, _about("of the checkout; null if installed")]
    assets: Annotated[dict[str, str], _about("asset -> state")]
    cache: Annotated[str, _about("folder of downloads")]
    broken_plugins: list[str]
    problems: list[str]
    golden_check: list[GoldenJson]


@with_config(EXACT)
class CheckJson(TypedDict):
    """One report of ``vqbench check --json``, which is an array."""

    kind: Annotated[str | None, _about("kind of plugin; null if the file cannot be loaded")]
    name: str
    about: str
    failed: Annotated[bool, _about("whether any check fails")]
    checks: Annotated[list[dict[str, Any]], _about("check, state, what was found, what to do, where to read")]


@with_config(EXACT)
class ExplainJson(TypedDict):
    """``vqbench explain RUN --json``."""

    run: Annotated[dict[str, Any], _about("key, quantizer, dataset and seed")]
    images: Annotated[int, _about("test images")]
    metrics: Annotated[dict[str, dict[str, Any]], _about("metric -> value per protocol, change, and its steps")]
    left_out: Annotated[list[str], _about("settings that were not tried, and why")]


@with_config(EXACT)
class ExplainImagesJson(TypedDict):
    """``vqbench explain ORIGINALS RECONSTRUCTIONS --json``."""

    images: Annotated[int, _about("pairs of images")]
    metrics: Annotated[dict[str, dict[str, Any]], _about("metric -> value per protocol, change, and its steps")]
    left_out: Annotated[list[str], _about("settings that were not tried, and why")]


@with_config(EXACT)
class TargetJson(TypedDict):
    """``vqbench explain ORIGINALS RECONSTRUCTIONS --target METRIC=NUMBER --json``."""

    protocol: Annotated[str, _about("protocol that the search begins under")]
    target: Annotated[dict[str, Any], _about("metric, value and the number as it was printed")]
    images: Annotated[int, _about("pairs that were evaluated")]
    available: Annotated[int, _about("pairs in all")]
    base: Annotated[float | str | None, _about("value under the protocol")]
    outside: Annotated[str, _about("why no value can be this number, or empty")]
    already: Annotated[bool, _about("whether the protocol prints the number itself")]
    candidates: Annotated[
        list[dict[str, Any]], _about("settings, value, distance and same_digits, in the order of the table")
    ]
    untried: Annotated[int, _about("combinations that were not evaluated, since others print the number")]
    left_out: Annotated[list[str], _about("settings that were not tried, and why")]


@with_config(EXACT)
class ImagesGivenJson(TypedDict):
    """Images that `vqbench measure` was given."""

    path: str
    kind: Annotated[str, _about("folder, tar shards, lmdb environment, array, data set, or the kind of model")]
    images: Annotated[int, _about("number of images")]
    digest: Annotated[str, _about("SHA-256 of the decoded pixels of those measured, whatever their format and order")]


@with_config(EXACT)
class ModelGivenJson(TypedDict):
    """The model that ``vqbench measure --model`` was given."""

    name: Annotated[str, _about("as it was given; the key of a run")]
    kind: Annotated[str, _about("function, module, run of vqbench, VQGAN checkpoint, TorchScript and so on")]
    digest: Annotated[str, _about("SHA-256 of its kind and weights; of a function, of its file")]
    range: Annotated[Literal["-1..1", "0..1", "0..255"], _about("of the images that it takes and returns")]
    batch_size: Annotated[int, _about("images that it is given together, at most")]
    device: str


@with_config(EXACT)
class StoredRowJson(TypedDict):
    """The row of a suite's table that `vqbench measure --row` stored."""

    label: str
    suite: SuiteName
    folder: Annotated[str, _about("where its record is")]


@with_config(EXACT)
class MeasuredValueJson(TypedDict):
    """One value of ``vqbench measure``."""

    protocol: str
    images: Annotated[int, _about("number of images that it is of")]
    metric: str
    label: Annotated[str, _about("name in the table")]
    value: Annotated[Number, _about("in `unit`; nan where the metric does not apply")]
    unit: str
    higher_is_better: bool
    digits: Annotated[int, _about("decimals worth printing")]
    metric_version: int
    protocol_version: int
    note: Annotated[str, _about("why it is not ranked, or infinite; may be empty")]


@with_config(EXACT)
class MeasureJson(TypedDict):
    """``vqbench measure --json``, of images that exist or of a model."""

    label: Annotated[str, _about("as --label gives it")]
    originals: NotRequired[ImagesGivenJson]
    reconstructions: NotRequired[ImagesGivenJson]
    codes: NotRequired[Annotated[dict[str, Any] | None, _about("path, num_codes and depth; null without codes")]]
    matched_by: NotRequired[Annotated[Literal["name", "position", "model"], _about("how pairs were matched")]]
    model: NotRequired[Annotated[ModelGivenJson, _about("with --model, what made the reconstructions")]]
    damaged: NotRequired[Annotated[dict[str, str], _about("damaged image that was left out -> reason")]]
    resumed_at: NotRequired[Annotated[int, _about("images that an earlier, interrupted call had measured")]]
    per_image: NotRequired[Annotated[str | None, _about("CSV file of the values per image")]]
    samples: NotRequired[Annotated[ImagesGivenJson, _about("images that were compared with the reference")]]
    reference: NotRequired[ImagesGivenJson]
    row: NotRequired[Annotated[StoredRowJson, _about("with --row, what was stored")]]
    notes: Annotated[list[str], _about("how the inputs were read, a sentence each")]
    values: list[MeasuredValueJson]


@with_config(EXACT)
class CodecJson(TypedDict):
    """The files of one codec and target, of ``vqbench codecs --json``."""

    row: Annotated[str, _about("label of the row")]
    codec: Annotated[str, _about("jpeg, webp, avif or jpeg2000")]
    target_bits: Annotated[int, _about("bits an image may need")]
    counted: Annotated[str, _about("whole files, or what of them")]
    bits: Annotated[float, _about("mean of what is counted, per image")]
    file_bits: Annotated[float, _about("mean of whole files, per image")]
    settings: Annotated[list[int], _about("lowest and highest setting of an image")]
    images: int
    over: Annotated[int, _about("images whose smallest file needs more than the target")]
    reached: Annotated[bool, _about("whether the mean is within the target; else nothing was measured")]
    folder: Annotated[str, _about("where the files are")]
    values: list[MeasuredValueJson]
    stored: Annotated[StoredRowJson | None, _about("with --suite, the row that was stored")]


@with_config(EXACT)
class ReportJson(TypedDict):
    """``vqbench report SUITE --format json``."""

    suite: SuiteName
    command: Annotated[str, _about("command that makes the runs")]
    tables: Annotated[list[dict[str, Any]], _about("as `table --json`, with `statistics`")]
    runs: Annotated[list[dict[str, Any]], _about("every run with its record")]


@with_config(EXACT)
class ProblemJson(TypedDict):
    """One thing that is wrong with a results folder or a document."""

    path: Annotated[str, _about("file or folder; of documents, with the line")]
    about: Annotated[str, _about("what is wrong, and what to do")]


@with_config(EXACT)
class VerifyJson(TypedDict):
    """``vqbench verify FOLDER --json``."""

    store: Annotated[str, _about("the results folder")]
    sound: Annotated[bool, _about("whether nothing is wrong")]
    records: Annotated[int, _about("records that can be read")]
    values: Annotated[int, _about("values of these records")]
    arrays: Annotated[int, _about("arrays of per-image values")]
    snapshots: Annotated[int, _about("files of images and code usage")]
    external: Annotated[int, _about("rows that were not trained by vqbench")]
    suites: Annotated[int, _about("resolved suites that can be read")]
    figures: Annotated[int, _about("regions of documents that were compared")]
    unfinished: Annotated[list[str], _about("folders of runs without a record yet")]
    problems: list[ProblemJson]


@with_config(EXACT)
class LeftRunJson(TypedDict):
    """One run that was not merged."""

    name: Annotated[str, _about("name of its folder")]
    about: Annotated[str, _about("both values of a conflict, or why it is left")]


@with_config(EXACT)
class MergeJson(TypedDict):
    """``vqbench merge A B --json``."""

    target: Annotated[str, _about("folder that was merged into")]
    dry_run: Annotated[bool, _about("whether nothing was written")]
    copied: Annotated[list[str], _about("runs that the target lacked")]
    completed: Annotated[list[str], _about("runs that got further values or files")]
    same: Annotated[list[str], _about("runs that lacked nothing")]
    conflict: Annotated[list[LeftRunJson], _about("runs with different values")]
    unreadable: Annotated[list[LeftRunJson], _about("runs with damaged files, or of a newer format")]
    unfinished: Annotated[list[LeftRunJson], _about("runs without a record, or in work")]


OUTPUTS: dict[str, Any] = {
    "list": list[ListedJson],
    "info": InfoJson,
    "plan": PlanJson,
    "plan --cost": ForecastJson,
    "status": StatusJson,
    "table": list[TableJson],
    "report": ReportJson,
    "diff": DiffJson,
    "explain": ExplainJson,
    "explain, of images": ExplainImagesJson,
    "explain --target": TargetJson,
    "measure": MeasureJson,
    "codecs": list[CodecJson],
    "check": list[CheckJson],
    "doctor": DoctorJson,
    "verify": VerifyJson,
    "merge": MergeJson,
}


def schema(command: str) -> dict[str, Any]:
    """Return the JSON schema of what ``command`` prints."""
    return TypeAdapter(OUTPUTS[command]).json_schema()
