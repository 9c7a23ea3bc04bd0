"""``vqbench init``: a first suite for a folder of images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli.options import output_file
from vqbench.errors import UsageError, counted

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of images, also of folders or tar shards.")]
Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", parser=output_file, help="Suite to write; its name is the file's."),
]


def init(folder: Folder, output: Output = Path("my_suite.yaml")) -> None:
    """Write a first suite for a folder of images, with comments.

    It compares four methods in minutes and runs as it is. Change it as you like; nothing else depends on it.
    """
    from vqbench.api.folder_suite import folder_suite, require_folder
    from vqbench.planning import loading
    from vqbench.reporting.suite_schema import HEADER, schema_path
    from vqbench.system.output import fold, write_text

    require_folder(folder)
    if output.suffix != ".yaml":
        raise UsageError(f"{output}: a suite is a .yaml file; write -o {output.stem or 'my_suite'}.yaml")
    if output.exists():
        raise UsageError(f"{output} exists; name another file with -o, or remove it")
    suite = folder_suite(folder, output.stem)
    write_text(output, HEADER.format(schema_path()) + suite.text)
    plan = loading.load(output, [])
    least, most = suite.shorter_sides
    sides = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    print(fold(f"{folder}: {suite.train:,} training and {suite.test:,} test images, shorter side {sides} pixels"))
    for note in suite.notes:
        print(fold(note, "  "))
    minutes = counted(round(suite.minutes), "minute")
    rows = ", ".join(dict.fromkeys(entry.label for entry in plan.entries))
    print(fold(f"{output}: {rows} at {suite.size}x{suite.size}; about {minutes} on two CPU cores"))
    print(f"Next: {shlex.join(['vqbench', 'run', str(output)])}")
