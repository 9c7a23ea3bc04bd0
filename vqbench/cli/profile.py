"""``vqbench profile``: time and memory of quantizers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import add_plugins, given_path, output_file
from vqbench.cli.output import print_json
from vqbench.errors import UsageError

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME", help="Quantizers, with arguments in brackets: 'cvq(anchor=closest,online=[true,false])'."
    ),
]
Against = Annotated[
    list[str] | None, typer.Option(metavar="PEER", help="Modules of other packages: vector-quantize-pytorch[/ema].")
]
Size = Annotated[list[str] | None, typer.Option(metavar="N,K,D", help="Numbers of features, codes and dimensions.")]
Devices = Annotated[list[str] | None, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option(metavar="NAME", help="Precision of the training step: float32, tf32 or bf16.")]
Repeat = Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Number of rounds; their medians are shown.")]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1024, show_default="as torch chooses", help="CPU threads.")
]
Step = Annotated[bool, typer.Option(help="Time the whole training step as well.")]
Cost = Annotated[bool, typer.Option("--cost", help="Show how far the step is from the limits of the machine, too.")]
Show = Annotated[
    Path | None, typer.Option(metavar="FILE", parser=given_path, help="Print a saved profile; time nothing.")
]
Methods = Annotated[
    bool, typer.Option("--methods", help="Print what each method is instead of its times; needs --show.")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", parser=output_file, help="Save the profile.")
]
Format = Annotated[str, typer.Option("--format", metavar="NAME", help="text or markdown.")]


def profile(
    names: Names = None,
    against: Against = None,
    size: Size = None,
    device: Devices = None,
    precision: Precision = "float32",
    repeat: Repeat = 7,
    threads: Threads = None,
    step: Step = True,
    cost: Cost = False,
    plugin: shared.Plugins = None,
    show: Show = None,
    methods: Methods = False,
    output: Output = None,
    style: Format = "text",
    quiet: shared.Quiet = False,
    as_json: shared.Json = False,
) -> None:
    """Measure time and memory of quantizers.

    Also their share of a training step.
    """
    from vqbench.profiling import profile_driver, profile_tables

    if methods and show is None:
        raise UsageError("--methods needs --show FILE: it prints what a saved profile knows of its methods")
    if show is not None:
        measured = profile_tables.read(show)
    else:
        add_plugins(plugin)
        request = profile_driver.ProfileRequest(
            names or [], against or [], size or [], device or [], precision, repeat, threads, step, cost, plugin or []
        )
        measured = profile_driver.profile(request, output, style, quiet)
    if as_json:
        print_json(measured)
    else:
        print(profile_tables.text(measured, style, cost, methods))
    if show is None and any("error" in row for row in measured["rows"]):
        raise typer.Exit(1)
