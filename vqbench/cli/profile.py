"""The options of ``vqbench profile``; what it does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.system.paths import path_of


def profile(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Quantizers; arguments in brackets: 'cvq(anchor=closest,online=[true,false])'."
        ),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="PEER", help="Modules of other packages: vector-quantize-pytorch[/ema].")
    ] = None,
    size: Annotated[list[str] | None, typer.Option(metavar="N,K,D", help="Features, codes, dimensions.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    precision: Annotated[str, typer.Option(help="Of the training step: float32, tf32 or bf16.")] = "float32",
    repeat: Annotated[int, typer.Option(min=1, max=10_000, help="Rounds; medians of them are shown.")] = 7,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads; otherwise torch's own choice.")
    ] = None,
    step: Annotated[bool, typer.Option(help="Time the whole training step as well.")] = True,
    cost: Annotated[bool, typer.Option("--cost", help="Also how far the step is from the machine's limit.")] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option("--plugin", metavar="FILE", parser=path_of, help="Offer the plugin of a .py file."),
    ] = None,
    show: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=path_of, help="Print a kept profile; measure nothing.")
    ] = None,
    methods: Annotated[bool, typer.Option("--methods", help="With --show: the table of methods.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", parser=path_of, help="Keep the profile.")
    ] = None,
    style: Annotated[str, typer.Option("--format", help="text or markdown.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Time and memory of quantizers, beside the bare product and as a share of a training step."""
    from vqbench import registry
    from vqbench.profiling import profile_driver
    from vqbench.system import jsontext

    code = 0
    if show is not None:
        found = profile_driver.shown(show, style, cost, methods)
    else:
        for path in plugin or []:
            registry.add_file(path)
        wanted = profile_driver.ProfileRequest(
            names or [], against or [], size or [], device or [], precision, repeat, threads, step, cost, plugin or []
        )
        code, found = profile_driver.profile(wanted, output, style, quiet)
    print(jsontext.dumps(found.data) if as_json else found.text)
    raise typer.Exit(code)
