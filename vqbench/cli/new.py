"""``vqbench new``: a file with a working quantizer to start from."""

from __future__ import annotations

from typing import Annotated

import typer

Kind = Annotated[str, typer.Argument(help="What to write: quantizer.")]
Name = Annotated[str, typer.Argument(help="Its name, such as my_vq.")]


def new(kind: Kind, name: Name) -> None:
    """Write a working quantizer to start your own from.

    It trains and passes every check. The file is NAME.py in this folder.
    """
    from vqbench.conformance import scaffold

    print(scaffold.write(kind, name))
