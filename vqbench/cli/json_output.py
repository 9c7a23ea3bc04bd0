"""The JSON that commands print: every key, its type and its meaning.

Keys are snake_case. Keys that are names of plugins, protocols or files stay as these are. ``docs/reference/json.md`` is
made from this module and those it imports, and a test validates the output of every command against it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from vqbench.cli.json_fields import EXACT, DatasetName, Key, Number, Row, SeedNumber, SuiteName, meaning
from vqbench.cli.json_of_images import CodecJson, ExplainImagesJson, ExplainJson, MeasureJson, TargetJson


@with_config(EXACT)
class ListedJson(TypedDict):
    """One entry of ``vqbench list KIND --json``, which is an array."""

    name: Annotated[str, meaning("name; of runs, the key")]
    about: Annotated[str, meaning("what it is, or BROKEN and why; of runs, suite and row")]
    origin: NotRequired[Annotated[str, meaning("plugins: built-in, a file, a package, or `preset of NAME`")]]
    year: NotRequired[Annotated[int | None, meaning("quantizers: year of the paper")]]
    paper: NotRequired[Annotated[str, meaning("quantizers: authors, title, place, year, arXiv number")]]
    use: NotRequired[Annotated[Literal["train", "measure"], meaning("protocols: what it is a protocol of")]]
    dataset: NotRequired[Annotated[str, meaning("runs: data set")]]
    quantizer: NotRequired[Annotated[str, meaning("runs: quantizer")]]
    recipe: NotRequired[Annotated[str, meaning("runs: recipe")]]
    seed: NotRequired[Annotated[int, meaning("runs: seed")]]
    date: NotRequired[Annotated[str | None, meaning("runs: when the record was written, UTC")]]


@with_config(ConfigDict(extra="allow", strict=True))
class InfoJson(TypedDict):
    """``vqbench info KIND NAME --json`` of a plugin.

    Suites print their keys, and protocols their settings with value and reason.
    """

    name: Annotated[str, meaning("name")]
    file: Annotated[str | None, meaning("file of its source")]
    version: NotRequired[Annotated[int, meaning("raised when a change of the code changes results")]]
    preset_of: NotRequired[Annotated[str, meaning("presets: plugin and arguments")]]
    arguments: NotRequired[Annotated[dict[str, Any], meaning("argument -> default")]]
    about: Annotated[str | None, meaning("docstring")]


@with_config(EXACT)
class PlannedJson(TypedDict):
    """One run of ``vqbench plan``."""

    row: Row
    dataset: DatasetName
    seed: SeedNumber
    key: Key
    state: Annotated[str, meaning("done, to do, to measure, failed, or what is damaged")]
    updates: Annotated[int | None, meaning("updates of the optimizer; null if unknown")]
    seconds: Annotated[float | None, meaning("of training, measured or expected; null if unknown")]
    shared_with: Annotated[list[str], meaning("other suites with the same run")]


@with_config(EXACT)
class PlanJson(TypedDict):
    """``vqbench plan SUITE --json``."""

    suite: SuiteName
    runs: Annotated[list[PlannedJson], meaning("one per cell; several cells may be one run")]
    distinct: Annotated[int, meaning("number of distinct runs")]
    left: Annotated[int, meaning("of these, those that `vqbench run` would work on")]


@with_config(EXACT)
class ForecastDeviceJson(TypedDict):
    """What a suite takes on one kind of device, from measured seconds."""

    device: str
    left: Annotated[int, meaning("runs that are not done")]
    counted: Annotated[int, meaning("of these, those with known times")]
    training_seconds: float
    measuring_seconds: float
    not_counted: Annotated[dict[str, int], meaning("kind of run without a measured time -> number")]
    measuring_not_counted: dict[str, int]
    measuring_by_group: Annotated[
        dict[str, dict[str, Any]],
        meaning("group of metrics -> values left, runs, seconds, runs not_timed, at_most; groups overlap"),
    ]
    gpus: Annotated[int | None, meaning("GPUs that the jobs share; null: each has a device to itself")]
    jobs: Annotated[list[dict[str, Any]], meaning("per --jobs: makespan, busy, at_least, device_hours")]


@with_config(EXACT)
class ForecastJson(TypedDict):
    """``vqbench plan SUITE --cost --json``."""

    suite: SuiteName
    left: Annotated[int, meaning("runs that are not done")]
    devices: list[ForecastDeviceJson]


@with_config(EXACT)
class RunStateJson(TypedDict):
    """One run of ``vqbench status``."""

    row: Row
    dataset: DatasetName
    seed: SeedNumber
    key: Key
    state: Annotated[str, meaning("done, running, stopped, failed, not begun ..., with the reason")]
    seconds: Annotated[float | None, meaning("of training; null without a record")]
    date: Annotated[str | None, meaning("of the record, UTC; null without one")]


@with_config(EXACT)
class OtherSettingsJson(TypedDict):
    """Settings under which the store has other runs of the suite."""

    finished: Annotated[int, meaning("of these runs, those with a record")]
    runs: Annotated[int, meaning("number of distinct runs")]
    command: Annotated[str, meaning("command that shows them")]


@with_config(EXACT)
class StatusJson(TypedDict):
    """``vqbench status SUITE --json``."""

    suite: SuiteName
    counts: Annotated[dict[str, int], meaning("state without its reason -> number of distinct runs")]
    runs: list[RunStateJson]
    next: Annotated[str, meaning("command that does what is left, or shows the table")]
    other_settings: list[OtherSettingsJson]


@with_config(EXACT)
class TableCellJson(TypedDict):
    """One cell of a table."""

    dataset: DatasetName
    setting: Annotated[str, meaning("value of the argument that the table is grouped by")]
    row: Annotated[str, meaning("label of the row")]
    metric: Annotated[str, meaning("name of the metric or column")]
    values: Annotated[list[Number], meaning("one per seed, unrounded")]
    seeds: Annotated[list[int], meaning("seed of each value")]
    status: Annotated[Literal["ok", "missing", "failed", "none"], meaning("none: not defined for the row")]
    reason: Annotated[str, meaning("why there is no value")]
    paper: Annotated[str | None, meaning("printed value, digit for digit")]
    verdict: Annotated[str | None, meaning("of the comparison with the printed value")]
    rank: Annotated[Literal["best", "second"] | None, meaning("among the ranked rows of its block")]
    marks: Annotated[list[Literal["B", "M", "S", "D", "E"]], meaning("letters that `marks` of the table explains")]
    unranked: Annotated[str, meaning("why it is not ranked although it has values")]
    significant: Annotated[bool, meaning("best, and ahead of every other ranked row beyond chance")]
    images: Annotated[int | None, meaning("images that each value was measured on")]
    results: Annotated[list[str], meaning("folders of the records")]
    notes: list[str]


@with_config(EXACT)
class TableJson(TypedDict):
    """One table of ``vqbench table SUITE --json``, an array of them.

    It has one table per measuring protocol.
    """

    title: str
    protocol: Annotated[str, meaning("full name of the measuring protocol of all values")]
    images: Annotated[str, meaning("number of images behind the values, in words")]
    marks: Annotated[dict[str, str], meaning("letter -> meaning")]
    footnotes: list[str]
    cells: list[TableCellJson]


@with_config(EXACT)
class ChangeJson(TypedDict):
    """One metric of one kind of run in both states of ``vqbench diff``."""

    what: Annotated[str, meaning("data set, quantizer and the arguments that tell it apart")]
    protocol: str
    metric: str
    seeds: Annotated[list[int], meaning("seeds that both states have")]
    images: Annotated[int, meaning("images that were compared one by one; 0 for none")]
    before: Number
    after: Number
    low: NotRequired[Annotated[Number, meaning("lower end of the 95 % interval of the difference")]]
    high: NotRequired[Annotated[Number, meaning("upper end")]]
    p_value: NotRequired[Number]
    p_value_holm: Annotated[Number, meaning("after Holm's correction over all comparisons")]
    verdict: str


@with_config(EXACT)
class MachineSpreadJson(TypedDict):
    """How far equal runs differ in one metric that other machines trained."""

    protocol: str
    metric: str
    runs: Annotated[int, meaning("kinds of run that both states have, trained on other machines")]
    mean: Annotated[Number, meaning("of their values in both states")]
    median: Annotated[Number, meaning("of the absolute differences")]
    largest: Annotated[Number, meaning("of the absolute differences")]
    largest_of: Annotated[str, meaning("the run with the largest one")]


@with_config(EXACT)
class DiffJson(TypedDict):
    """``vqbench diff A B --json``."""

    a: str
    b: str
    changes: list[ChangeJson]
    machines: list[MachineSpreadJson]
    new: Annotated[list[str], meaning("kinds of run that only B has")]
    gone: Annotated[list[str], meaning("kinds of run that only A has")]
    suites: Annotated[dict[str, list[str]], meaning("state -> suites of its runs, with the options of their settings")]


@with_config(EXACT)
class GoldenJson(TypedDict):
    """One group of golden values."""

    name: str
    state: Annotated[str, meaning("PASS, FAIL, or why it was not computed")]
    about: str


@with_config(EXACT)
class DoctorJson(TypedDict):
    """``vqbench doctor --json``."""

    versions: Annotated[dict[str, str], meaning("package -> version")]
    processor: str
    threads: NotRequired[Annotated[int, meaning("of torch")]]
    gpus: NotRequired[list[str]]
    commit: Annotated[str | None, meaning("of the checkout; null if installed")]
    assets: Annotated[dict[str, str], meaning("asset -> state")]
    cache: Annotated[str, meaning("folder of downloads")]
    broken_plugins: list[str]
    problems: list[str]
    golden_check: list[GoldenJson]


@with_config(EXACT)
class CheckJson(TypedDict):
    """One report of ``vqbench check --json``, which is an array."""

    kind: Annotated[str | None, meaning("kind of plugin; null if the file cannot be loaded")]
    name: str
    about: str
    failed: Annotated[bool, meaning("whether any check fails")]
    checks: Annotated[list[dict[str, Any]], meaning("check, state, what was found, what to do, where to read")]


@with_config(EXACT)
class ReportJson(TypedDict):
    """``vqbench report SUITE --format json``."""

    suite: SuiteName
    command: Annotated[str, meaning("command that makes the runs")]
    tables: Annotated[list[dict[str, Any]], meaning("as `table --json`, with `statistics`")]
    runs: Annotated[list[dict[str, Any]], meaning("every run with its record")]


@with_config(EXACT)
class ProblemJson(TypedDict):
    """One thing that is wrong with a results folder or a document."""

    path: Annotated[str, meaning("file or folder; of documents, with the line")]
    about: Annotated[str, meaning("what is wrong, and what to do")]


@with_config(EXACT)
class VerifyJson(TypedDict):
    """``vqbench verify FOLDER --json``."""

    store: Annotated[str, meaning("the results folder")]
    sound: Annotated[bool, meaning("whether nothing is wrong")]
    records: Annotated[int, meaning("records that can be read")]
    values: Annotated[int, meaning("values of these records")]
    arrays: Annotated[int, meaning("arrays of per-image values")]
    snapshots: Annotated[int, meaning("files of images and code usage")]
    external: Annotated[int, meaning("rows that were not trained by vqbench")]
    suites: Annotated[int, meaning("resolved suites that can be read")]
    figures: Annotated[int, meaning("regions of documents that were compared")]
    unfinished: Annotated[list[str], meaning("folders of runs without a record yet")]
    problems: list[ProblemJson]


@with_config(EXACT)
class LeftRunJson(TypedDict):
    """One run that was not merged."""

    name: Annotated[str, meaning("name of its folder")]
    about: Annotated[str, meaning("both values of a conflict, or why it is left")]


@with_config(EXACT)
class MergeJson(TypedDict):
    """``vqbench merge A B --json``."""

    target: Annotated[str, meaning("folder that was merged into")]
    dry_run: Annotated[bool, meaning("whether nothing was written")]
    copied: Annotated[list[str], meaning("runs that the target lacked")]
    completed: Annotated[list[str], meaning("runs that got further values or files")]
    same: Annotated[list[str], meaning("runs that lacked nothing")]
    conflict: Annotated[list[LeftRunJson], meaning("runs with different values")]
    unreadable: Annotated[list[LeftRunJson], meaning("runs with damaged files, or of a newer format")]
    unfinished: Annotated[list[LeftRunJson], meaning("runs without a record, or in work")]


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
