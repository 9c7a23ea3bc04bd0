"""``vqbench verify``: whether a results folder is whole and documents agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import given_path
from vqbench.cli.output import print_json
from vqbench.errors import UsageError, counted

if TYPE_CHECKING:
    from vqbench.store.verifying import Verification

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", show_default="results", parser=given_path, help="The results folder.")
]
Documents = Annotated[
    list[Path] | None,
    typer.Option(
        "--document",
        metavar="PATH",
        parser=given_path,
        help="Document or folder whose figures are compared; by default README.md and docs/ beside FOLDER.",
    ),
]


def verify(
    context: typer.Context, folder: Folder = shared.RESULTS, documents: Documents = None, as_json: shared.Json = False
) -> None:
    """Check that results are whole and that documents print them.

    Every record has its schema, its digest, the key that is the hash of its run, and a folder of that name; per-image
    values have the record's value as their mean. Every figure below a comment such as `<!-- $ vqbench table quick
    -->` in a document is what this command prints. Nothing is written. The exit code is 1 if anything is wrong, and 2
    if the folder has nothing to check.
    """
    from vqbench.cli import figures
    from vqbench.planning import plan_file
    from vqbench.store.results import ResultStore
    from vqbench.store.verifying import Fault
    from vqbench.store.verifying import verify as verify_store

    for path in (folder, *(documents or ())):
        if not path.exists():
            raise UsageError(f"{path}: does not exist; name an existing folder or document")
    found = verify_store(ResultStore(folder))
    suites = ResultStore(folder)
    counts = {"suites": len(plan_file.stored(suites))}
    found.problems += [Fault(path, text.removeprefix(f"{path}: ")) for path, text in suites.damage.items()]
    if not (found.records or found.external or found.unfinished or found.problems or counts["suites"]):
        raise UsageError(f"{folder}: no run, external row or resolved suite is in it; name a results folder")
    counts["figures"], problems = figures.compare(
        documents or figures.beside(folder), folder, context.find_root().command
    )
    found.problems += problems
    if as_json:
        print_json(_data(folder, found, counts))
    else:
        print(_text(folder, found, counts))
    raise typer.Exit(int(bool(found.problems)))


def _text(folder: Path, found: Verification, counts: dict[str, int]) -> str:
    from vqbench.system.output import fold

    parts = [
        f"{counted(found.records, 'record')} with {counted(found.values, 'value')}",
        f"{counted(found.arrays, 'array')} of per-image values",
        *([counted(found.external, "external row")] if found.external else []),
        counted(found.snapshots, "snapshot"),
        counted(counts["suites"], "resolved suite"),
        f"{counted(counts['figures'], 'region')} of figures in documents",
    ]
    lines = [fold(str(fault), "  ") for fault in found.problems]
    lines += [f"{path}: not finished, so there is nothing to check" for path in found.unfinished]
    verdict = f"{counted(len(found.problems), 'problem')} found" if found.problems else "all sound"
    return "\n".join([*lines, fold(f"{folder}: {', '.join(parts)}: {verdict}.")])


def _data(folder: Path, found: Verification, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "store": str(folder),
        "sound": not found.problems,
        "records": found.records,
        "values": found.values,
        "arrays": found.arrays,
        "snapshots": found.snapshots,
        "external": found.external,
        **counts,
        "unfinished": [str(path) for path in found.unfinished],
        "problems": [{"path": str(fault.path), "about": fault.about} for fault in found.problems],
    }
