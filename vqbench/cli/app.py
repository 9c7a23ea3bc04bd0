"""The command line: all commands, exit codes, and how errors are shown.

Commands import what is heavy inside their functions, so that ``--help`` needs no torch.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

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
from vqbench.errors import VqbenchError, named, sentence
from vqbench.system import console
from vqbench.system.environment import waiting

EXIT_CODES = {
    0: "all done",
    1: "some runs failed, or something could not be read, written or fetched",
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
        bool, typer.Option("--debug", help="Show tracebacks; may be anywhere.")  # listed here, read by run_words
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit.

    Every error becomes one sentence and an exit code; see :data:`EXIT_CODES`.
    """
    os.environ.update(waiting(os.environ))  # before anything loads torch, here or in a process started from here
    console.install()  # to the end of the process, which may print a traceback or a warning
    sys.exit(run_words(sys.argv[1:]))


def run_words(words: list[str]) -> int:
    """Run one command line and return its exit code.

    ``--debug`` may be anywhere in it, and shows tracebacks.
    """
    debug = "--debug" in words
    with console.guarded():
        try:
            return _run([word for word in words if word != "--debug"])
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, SystemExit) and VARIABLE in os.environ:
                raise  # of typer, which answers a shell so
            if debug and not isinstance(error, SystemExit):
                raise
            if debug:
                traceback.print_exc()  # Python itself shows none for SystemExit
            message, code = _explained(error)
        print(f"vqbench: {sentence(console.one_line(message))}", file=sys.stderr)
        return code


def _run(words: list[str]) -> int:
    try:
        return app(args=words or ["--help"], prog_name="vqbench", standalone_mode=False) or 0
    except typer.Exit as error:
        return error.exit_code
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk is still an error with a sentence


def _wrong_usage(error: Any) -> str:
    """The sentence for wrong usage; for a missing argument, with what it may be."""
    message: str = error.format_message()
    parameter = getattr(error, "param", None)
    choices = getattr(parameter, "help", None)
    return f"{message.removesuffix('.')}: {choices}" if choices and message.startswith("Missing argument") else message


def _explained(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code for ``error``."""
    if isinstance(error, VqbenchError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "stopped; what was finished is kept", 130
    if hasattr(error, "format_message"):  # wrong usage; each version of typer brings its own class of click's
        return _wrong_usage(error), 2
    if isinstance(error, SystemExit):  # vqbench itself raises none
        return f"{named(error)}: a plugin has called sys.exit; let it raise another error (--debug shows where)", 1
    return f"{named(error)} (a fault of vqbench; --debug shows where)", 1
