"""``vqbench new``: a file with a working plugin to start from."""

from __future__ import annotations

from typing import Annotated

import typer

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="What to write: quantizer, metric, dataset, backbone or recipe.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as my_vq.")]


def new(kind: Kind, name: Name) -> None:
    """Write a working plugin to start your own from.

    It passes every check. The file is NAME.py in this folder. The commands that check and use it are printed.
    """
    from vqbench.conformance import scaffold

    path = scaffold.write(kind, name)
    print(f"{path}: a {kind.replace('dataset', 'data set')} that works as it is. Next:")
    for command in scaffold.next_commands(kind, path):
        print(f"  {command}")
