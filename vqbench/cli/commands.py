"""All commands and exit codes.

Commands import what is heavy inside their functions, so that ``--help`` needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated

import typer

from vqbench import __version__
from vqbench.cli.check import check
from vqbench.cli.clean import clean
from vqbench.cli.codecs import codecs
from vqbench.cli.completion import VARIABLE, attach, completion
from vqbench.cli.decode import decode
from vqbench.cli.diff import diff
from vqbench.cli.doctor import doctor
from vqbench.cli.encode import encode
from vqbench.cli.explain import explain
from vqbench.cli.export import export
from vqbench.cli.help_pages import SectionedCommand, SectionedGroup
from vqbench.cli.info import info
from vqbench.cli.init import init
from vqbench.cli.list import list_
from vqbench.cli.measure import measure
from vqbench.cli.merge import merge
from vqbench.cli.new import new
from vqbench.cli.plan import plan
from vqbench.cli.prepare import prepare
from vqbench.cli.profile import profile
from vqbench.cli.publish import publish
from vqbench.cli.report import report
from vqbench.cli.run import run
from vqbench.cli.sample import sample
from vqbench.cli.status import status
from vqbench.cli.table import table
from vqbench.cli.verify import verify

EXIT_CODES = {
    0: "all done",
    1: "some runs failed, a check did, or something could not be read, written or fetched",
    2: "wrong usage or suite; nothing was started",
    3: "--time-limit is reached and runs are left",
    75: "stopped by SIGTERM or SIGUSR1; a scheduler may queue the same command again",
    130: "stopped by Ctrl-C",
}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    cls=SectionedGroup,
    help="Compare vector quantizers for images under one protocol.",
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    epilog="\n".join(["\b", "Exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())]),
)
COMMANDS: dict[str, Callable[..., None]] = {
    "init": init,
    "run": run,
    "plan": plan,
    "status": status,
    "table": table,
    "report": report,
    "diff": diff,
    "measure": measure,
    "codecs": codecs,
    "explain": explain,
    "sample": sample,
    "encode": encode,
    "decode": decode,
    "export": export,
    "list": list_,
    "info": info,
    "new": new,
    "check": check,
    "profile": profile,
    "prepare": prepare,
    "doctor": doctor,
    "publish": publish,
    "verify": verify,
    "merge": merge,
    "clean": clean,
    "completion": completion,
}
if VARIABLE in os.environ:
    attach(COMMANDS)
for name, command in COMMANDS.items():
    app.command(name, cls=SectionedCommand)(command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"vqbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; may be anywhere.")  # listed here, read by app.run_words
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
