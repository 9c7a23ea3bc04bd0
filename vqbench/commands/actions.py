"""What the commands do, once a suite is resolved. None of it needs torch until something must be trained or fetched."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench import protocol
from vqbench.errors import StoreError, UsageError, nearest
from vqbench.measuring import album
from vqbench.planning.cost import kind, took, updates
from vqbench.planning.plan import Entry, Plan
from vqbench.spec import RunSpec
from vqbench.store import ResultStore

FORMATS = ("text", "markdown", "csv", "latex", "json")


@dataclass(frozen=True)
class Shown:
    """What a command found: for people, and for programs."""

    text: str
    data: Any


def table(plan: Plan, folders: Sequence[Path], style: str, paper: bool) -> str:
    """The suite's tables, one a measuring protocol, as text of the given style."""
    from vqbench.tables import assemble, render

    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}; {nearest(style, FORMATS)}")
    tables = assemble.tables(plan, [ResultStore(folder) for folder in folders], paper)
    if style == "json":
        return json.dumps([assemble.data(each) for each in tables], indent=1, allow_nan=False) + "\n"
    return render.render(tables, style, paper)


def plan(plan: Plan, folder: Path, results: Path) -> Shown:
    """Every run: done or to do, which other suites share it, and what is to be expected of its time."""
    store = ResultStore(folder)
    shared, known = _sharing([store, ResultStore(results)], plan), took(store)
    rows: list[dict[str, Any]] = []
    for entry, run in ((each, run) for each in plan.entries for run in each.stages()):
        missing, record = store.missing(run, plan.wanted(run)), store.read(run)
        rows.append(
            {
                "row": _row(entry, run),
                "data set": entry.dataset,
                "seed": entry.seed,
                "key": run.key,
                "state": "done" if not missing else "to measure" if record else "to do",
                "updates": updates(plan, run),
                "seconds": record.made["seconds"] if record else known.get(kind(run)),
                "shared with": shared.get(run.key, []),
            }
        )
    distinct = {row["key"]: row for row in rows}.values()
    left = [row for row in distinct if row["state"] != "done"]
    shown = [
        {
            **row,
            "updates": "?" if row["updates"] is None else row["updates"],
            "seconds": _rounded(row["seconds"]),
            "shared with": ", ".join(row["shared with"]),
        }
        for row in rows
    ]
    summary = f"{len(rows)} cells, {len(distinct)} distinct runs, {len(left)} not done{_cost(left)}"
    data = {"suite": plan.suite.name, "runs": rows, "distinct": len(distinct), "left": len(left)}
    return Shown(f"{grid(list(rows[0]), [list(row.values()) for row in shown])}\n{summary}", data)


def _cost(left: list[dict[str, Any]]) -> str:
    """What is to be expected of the training that is left to do."""
    seconds = [row["seconds"] for row in left if row["state"] == "to do"]
    if not seconds:
        return ""
    if None in seconds:
        return "; training time unknown until a run of each kind was trained here"
    return f"; about {sum(seconds):.0f} s of training, by what such runs took here before"


def _sharing(stores: Sequence[ResultStore], plan: Plan) -> dict[str, list[str]]:
    """Run key -> names of the other known suites that have the same run."""
    from vqbench.planning import plan as planning
    from vqbench.planning.suitefile import known_suites

    shared: dict[str, list[str]] = {}
    for name, path in known_suites().items():
        if name == plan.suite.name:
            continue
        try:
            other = planning.load(path, stores)
        except UsageError:
            continue  # somebody else's suite, broken or for another version: not what was asked for
        for run in other.runs():
            shared.setdefault(run.key, []).append(name)
    return shared


def status(plan: Plan, folder: Path) -> Shown:
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
    return Shown(text, {"suite": plan.suite.name, "runs": rows})


def state(plan: Plan, store: ResultStore, run: RunSpec) -> str:
    """How one run of a suite stands, in a few words."""
    missing = store.missing(run, plan.wanted(run))
    if not missing:
        return "done"
    if (first := plan.first_of(run)) and first not in store:
        return f"waits for {first.key}, {state(plan, store, first)}"
    if store.folder(run).exists() and store.is_locked(run):
        return "running"
    if failure := store.failure(run):
        return f"failed: {failure.reason}"
    if run in store:
        return "trained, lacks " + ", ".join(f"{metric} ({name})" for name, ms in missing.items() for metric in ms)
    return "stopped, will go on" if (store.folder(run) / "last.pt").exists() else "not begun"


def _row(entry: Entry, run: RunSpec) -> str:
    """What a run is called in a list, where a second stage stands below the run that it builds on."""
    return entry.label if run.parent is None else f"{run.recipe.name} on {entry.label}"


def prepare(plan: Plan, say: bool = True) -> None:
    """Fetch and verify every asset of the suite, and say where each is. Raises AssetError for what is not to be had.

    To ``say`` so, data sets are opened too. Raises UsageError where a package is not installed that a recipe of the
    suite needs.
    """
    from vqbench import assets, registry
    from vqbench.running.progress import download

    require_packages(plan)
    for name in (names := needed_assets(plan)):
        with download(name) as progress:
            path = assets.fetch(name, progress=progress)
        if say:
            print(f"{name}: {path}")
    for part in {run.dataset.name: run.dataset for run in plan.runs()}.values() if say else ():
        dataset: Any = registry.create("datasets", part.name, **part.args)
        with registry.contained("datasets", part.name):
            counts = [len(dataset.pixels(split)) for split in ("train", "test")]
        print(f"{dataset.title}: {counts[0]:,} training and {counts[1]:,} test pictures")
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
        names.update(registry.load("datasets", run.dataset.name).assets)  # type: ignore[attr-defined]
    for metric in plan.metrics:
        cls: Any = registry.load("metrics", metric)
        with registry.contained("metrics", metric):
            for name in plan.protocols():
                names.update(cls.assets(protocol.measuring(name)))
    return sorted(names)


def publish(plan: Plan, folder: Path, results: Path) -> None:
    """Copy the records of finished runs, with their per-image values and what pages show, to ``results``."""
    source, target = ResultStore(folder), ResultStore(results)
    done = [spec for spec in plan.runs() if spec in source]
    if not done:
        raise UsageError(
            f"{folder}: no finished run of {plan.suite.name} to publish; `vqbench run {plan.suite.name}` first"
        )
    left: list[Path] = []
    for spec in done:
        images = source.read_images(spec)
        if images:
            target.write_images(spec, images)
        left += album.copy(source.folder(spec), target.folder(spec))
        record = source.read(spec)
        assert record is not None
        target.write(record)
    plan.save(target)
    for path in left:
        print(
            f"{path}: larger than {album.PUBLISHED // 1000:,} kB, so pages of the published run go without it",
            file=sys.stderr,
        )
    print(f"{len(done)} of {len(plan.runs())} runs of {plan.suite.name} published to {results}", file=sys.stderr)


def clean(plan: Plan, folder: Path, yes: bool) -> None:
    """Delete the checkpoints of finished runs, and the samples of second stages."""
    store = ResultStore(folder)
    files = [
        path
        for spec in plan.runs()
        if spec in store
        for pattern in ("last.pt", "best.pt", "encoded-*", "samples-*.npy", "samples-*.parts/*", "samples.sha256")
        for path in sorted(store.folder(spec).glob(pattern))
    ]
    size = sum(path.stat().st_size for path in files) / 1e6
    if yes:
        for path in files:
            path.unlink()
    print(
        f"{len(files)} checkpoints, {size:.1f} MB, {'deleted' if yes else 'would be deleted; --yes does it'}",
        file=sys.stderr,
    )


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


def _rounded(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def grid(head: list[str], rows: list[list[Any]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=head, tablefmt="plain", disable_numparse=True)
