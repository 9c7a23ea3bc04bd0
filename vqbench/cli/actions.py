"""What the commands do, once a suite is resolved. None of it needs torch until something must be trained or fetched."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqbench.errors import UsageError, VqbenchError, counted, nearest
from vqbench.planning import plan_file
from vqbench.planning.cost import kind, median_seconds, updates
from vqbench.planning.plan import Plan, PlannedRun
from vqbench.spec import RunSpec
from vqbench.store import deletion, snapshots
from vqbench.store.publishing import take_over
from vqbench.store.record import Record, lacking
from vqbench.store.results import ResultStore
from vqbench.store.value_name import ValueName
from vqbench.system.output import CommandOutput, grid, require_sound

FORMATS = ("text", "markdown", "csv", "latex", "json")


def table(plan: Plan, folders: Sequence[Path | ResultStore], style: str, paper: bool, notes: bool = False) -> str:
    """The suite's tables, one a measuring protocol, as text of the given style."""
    from vqbench.reporting.tables import assemble, render
    from vqbench.reporting.tables.formats.plain import plain
    from vqbench.system import jsontext

    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}; {nearest(style, FORMATS)}")
    stores = [each if isinstance(each, ResultStore) else ResultStore(each) for each in folders]
    tables = assemble.tables(plan, stores, paper)
    if style == "json":
        return jsontext.dumps([plain(each) for each in tables]) + "\n"
    return render.render(tables, style, paper, notes)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection, which walks thousands of records, all of them trees, again and again."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def plan(plan: Plan, folder: Path, results: Path) -> CommandOutput:
    """Every run: done or to do, which other suites share it, and what is to be expected of its time."""
    store = ResultStore(folder)
    records = {record.run.key: record for record in store.records()}  # each is read once, and there may be thousands
    shared, known = _sharing([store, ResultStore(results)], plan), median_seconds(records.values())
    wanted = {second: plan.wanted_of(second) for second in (False, True)}
    rows: list[dict[str, Any]] = []
    for entry, run in ((each, run) for each in plan.entries for run in each.stages()):
        record = records.get(run.key)
        missing = lacking(record, wanted[run.parent is not None])
        failed = "failed" if missing and store.obstacle(run) else ""
        rows.append(
            {
                "row": _row(entry, run),
                "data set": entry.dataset,
                "seed": entry.seed,
                "key": run.key,
                "state": store.standing(run) or failed or _step(record, missing),
                "updates": updates(plan, run),
                "seconds": record.made["seconds"] if record else known.get(kind(run)),
                "shared with": shared.get(run.key, []),
            }
        )
    distinct = {row["key"]: row for row in rows}.values()
    left = [row for row in distinct if row["state"] not in ("done", "failed")]
    failures = sum(row["state"] == "failed" for row in distinct)
    shown = [
        {
            **row,
            "updates": "?" if row["updates"] is None else row["updates"],
            "seconds": _rounded(row["seconds"]),
            "shared with": ", ".join(row["shared with"]),
        }
        for row in rows
    ]
    summary = (
        f"{counted(len(rows), 'cell')}, {counted(len(distinct), 'distinct run')}, {len(left):,} not done{_cost(left)}"
        + (f"; {failures:,} failed, which `run` tries again with --retry-failed" if failures else "")
    )
    data = {"suite": plan.suite.name, "runs": rows, "distinct": len(distinct), "left": len(left)}
    own = {store.folder(run) / "record.json" for run in plan.runs()}  # whose rows say so
    others = [sentence for path, sentence in store.damage.items() if path not in own]
    return CommandOutput(f"{grid(list(rows[0]), [list(row.values()) for row in shown])}\n{summary}", data, others)


def _step(record: Record | None, missing: Mapping[str, Any]) -> str:
    """What is to be done of a run that did not fail."""
    return "done" if not missing else "to measure" if record else "to do"


def _cost(left: list[dict[str, Any]]) -> str:
    """What is to be expected of the training that is left to do."""
    seconds = [row["seconds"] for row in left if row["state"] not in ("done", "to measure")]
    if not seconds:
        return ""
    if None in seconds:
        return "; training time unknown until a run of each kind was trained here"
    return f"; about {sum(seconds):.0f} s of training, by what such runs took here before"


def _sharing(stores: Sequence[ResultStore], plan: Plan) -> dict[str, list[str]]:
    """Run key -> names of the other known suites that have the same run."""
    from vqbench.assets import cache_folder
    from vqbench.planning import loading
    from vqbench.planning.suite_files import known_suites

    shared: dict[str, list[str]] = {}
    own, stores = {run.key for run in plan.runs()}, [*stores, ResultStore(cache_folder() / "resolved")]
    for name, path in known_suites().items():
        if name == plan.suite.name:
            continue
        try:
            keys = loading.keys(path, stores)
        except VqbenchError:
            continue  # somebody else's suite, broken or for another version: not what was asked for
        for key in keys & own:
            shared.setdefault(key, []).append(name)
    return shared


def status(plan: Plan, folder: Path) -> CommandOutput:
    """How each run stands."""
    store = ResultStore(folder)
    rows = [
        {
            "row": _row(entry, run),
            "dataset": entry.dataset,
            "seed": entry.seed,
            "key": run.key,
            "state": state(plan, store, run),
        }
        for entry in plan.entries
        for run in entry.stages()
    ]
    text = grid(["row", "data set", "seed", "key", "state"], [list(row.values()) for row in rows])
    return CommandOutput(text, {"suite": plan.suite.name, "runs": rows})


def state(plan: Plan, store: ResultStore, run: RunSpec) -> str:
    """How one run of a suite stands, in a few words."""
    missing = lacking(store.sound(run), plan.wanted(run))
    if not missing:
        return "done"
    if damaged := store.standing(run):
        return damaged
    if (first := plan.first_of(run)) and first not in store:
        return f"waits for {first.key}, {state(plan, store, first)}"
    if store.folder(run).exists() and store.is_locked(run):
        return "running"
    if failure := store.obstacle(run):
        return store.standing(run) or f"failed: {failure.reason}"
    if run in store:
        return "trained, lacks " + ", ".join(f"{metric} ({name})" for name, ms in missing.items() for metric in ms)
    return "stopped, will go on" if (store.folder(run) / "last.pt").exists() else "not begun"


def _row(entry: PlannedRun, run: RunSpec) -> str:
    """What a run is called in a list, where a second stage stands below the run that it builds on."""
    return entry.label if run.parent is None else f"{run.recipe.name} on {entry.label}"


def prepare(plan: Plan, say: bool = True) -> None:
    """Fetch and verify every asset of the suite, and say where each is. Raises AssetError for what is not to be had.

    To ``say`` so, data sets are opened too. Raises UsageError where a package is not installed that a recipe of the
    suite needs.
    """
    from vqbench import assets, registry
    from vqbench.execution.progress import download_progress

    require_packages(plan)
    for name in (names := needed_assets(plan)):
        with download_progress(name) as progress:
            path = assets.fetch(name, progress=progress)
        if say:
            print(f"{name}: {path}")
    for part in {run.dataset.name: run.dataset for run in plan.runs()}.values() if say else ():
        dataset: Any = registry.create("datasets", part.name, **part.args)
        with registry.contained("datasets", part.name):
            counts = [len(dataset.pixels(split)) for split in ("train", "test")]
        print(f"{dataset.title}: {counts[0]:,} training and {counts[1]:,} test images")
        for note in dataset.notes:
            print(note)
    if say and not names:
        print(f"{plan.suite.name} needs nothing else that is not part of the package")


def require_packages(plan: Plan) -> None:
    """Raises UsageError, before anything is trained, where a plugin of the suite needs a package that is not there."""
    from vqbench import registry

    runs = plan.runs()
    for name in dict.fromkeys(run.recipe.name for run in runs):
        if sentence := registry.lacks("recipes", name):
            raise UsageError(sentence)
    for name in dict.fromkeys(run.quantizer.name for run in runs):
        if sentence := registry.lacks("quantizers", name):
            raise UsageError(sentence)


def needed_assets(plan: Plan) -> list[str]:
    """What the catalogue must provide before every run of ``plan`` can be trained and measured."""
    from vqbench import registry

    names: set[str] = set()
    for run in plan.runs():
        names.update(registry.load("datasets", run.dataset.name).assets)
    for metric in plan.metrics:
        cls: Any = registry.load("metrics", metric)
        with registry.contained("metrics", metric):
            for name in plan.protocols():
                names.update(cls.assets(ValueName.parse(name).measuring))
    return sorted(names)


def publish(plan: Plan, folder: Path, results: Path) -> None:
    """Copy the records of finished runs, with their per-image values and what pages show, to ``results``.

    Published values that a record lacks stay where it is of the same weights.
    """
    source, target = ResultStore(folder), ResultStore(results)
    done = [spec for spec in plan.runs() if spec in source]
    if not done:
        raise UsageError(
            f"{folder}: no finished run of {plan.suite.name} to publish; `vqbench run {plan.suite.name}` first"
        )
    left: list[Path] = []
    published = 0
    for spec in done:
        record, images = source.sound(spec), source.images(spec)
        if record is None or source.folder(spec) / "per_image.npz" in source.damage:
            continue
        if lost := take_over(record, target):
            print(f"vqbench: {lost}", file=sys.stderr)
        if images:
            target.write_images(spec, images)
        left += snapshots.copy(source.folder(spec), target.folder(spec))
        target.write(record)
        published += 1
    plan_file.save(plan, target)
    for path in left:
        print(
            f"{path}: larger than {snapshots.PUBLISHED // 1000:,} kB, so pages of the published run go without it",
            file=sys.stderr,
        )
    print(
        f"{published} of {counted(len(plan.runs()), 'run')} of {plan.suite.name} published to {results}",
        file=sys.stderr,
    )
    require_sound(source.damage.values())


def clean(plan: Plan, folder: Path, yes: bool) -> None:
    """Delete the checkpoints of finished runs, and the samples of second stages; links, and what they lead to, stay."""
    store = ResultStore(folder)
    patterns = ("last.pt", "best.pt", "encoded-*", "samples-*.npy", "samples-*.parts/*", "samples.sha256")
    files = [
        path
        for spec in plan.runs()
        if spec in store
        for pattern in patterns
        for path in sorted(store.folder(spec).glob(pattern))
    ]
    own = [path for path in files if deletion.within(store.root, path) and path.is_file()]
    size = 0.0
    for path in own:
        bytes_ = path.stat().st_size
        size += bytes_ / 1e6
        print(f"{path}: {bytes_ / 1e6:.1f} MB")
    for path in (path for path in files if path not in own):
        print(f"{path}: left, since it is a link, or lies outside of {store.root}", file=sys.stderr)
    if yes:
        deletion.delete(store.root, own)
    print(
        f"{counted(len(own), 'file')}, {size:.1f} MB, {'deleted' if yes else 'would be deleted; --yes does it'}",
        file=sys.stderr,
    )


def _rounded(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
