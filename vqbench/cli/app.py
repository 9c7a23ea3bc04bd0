"""The command line: it runs one command, and shows every error as one sentence.

Importing the commands, and later torch, takes seconds. Signals are handled before that.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from vqbench.cli.stop_signals import STOP_SIGNALS
from vqbench.errors import Interrupted, VqbenchError, named, sentence
from vqbench.system import console
from vqbench.system.environment import waiting


def main() -> None:
    """Run the command line and exit.

    Every error becomes one sentence and an exit code; see :data:`vqbench.cli.commands.EXIT_CODES`.
    """
    STOP_SIGNALS.handle()
    os.environ.update(waiting(os.environ))  # before anything loads torch, here or in a process started from here
    console.install()  # to the end of the process, which may print a traceback or a warning
    try:
        code = run_words(sys.argv[1:])
    except KeyboardInterrupt:  # a second signal, while the first is said
        if "--debug" in sys.argv:
            raise
        code = STOP_SIGNALS.error().exit_code
    STOP_SIGNALS.ignore()  # all is printed, and Python takes a moment to end
    sys.exit(code)


def run_words(words: list[str]) -> int:
    """Run one command line and return its exit code.

    ``--debug`` may be anywhere in it, and shows tracebacks.
    """
    debug = "--debug" in words
    with console.guarded():
        try:
            return _run([word for word in words if word != "--debug"])
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, SystemExit) and _completes():
                raise  # of typer, which answers a shell so
            if debug and not isinstance(error, SystemExit):
                raise
            if debug:
                traceback.print_exc()  # Python itself shows none for SystemExit
            message, code = _explained(error)
        print(f"vqbench: {sentence(console.one_line(message))}", file=sys.stderr)
        return code


def _run(words: list[str]) -> int:
    import typer

    from vqbench.cli.commands import app

    try:
        code: int = app(args=words or ["--help"], prog_name="vqbench", standalone_mode=False) or 0
    except typer.Exit as error:
        code = error.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk is still an error with a sentence
    if code == Interrupted.exit_code:  # of KeyboardInterrupt, which typer catches and says nothing
        raise KeyboardInterrupt
    return code


def _completes() -> bool:
    from vqbench.cli.completion import VARIABLE

    return VARIABLE in os.environ


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
    if isinstance(error, KeyboardInterrupt) or STOP_SIGNALS.number is not None:
        stop = STOP_SIGNALS.error()
        return str(stop), stop.exit_code
    if hasattr(error, "format_message"):  # wrong usage; each version of typer brings its own class of click's
        return _wrong_usage(error), 2
    if isinstance(error, SystemExit):  # vqbench itself raises none
        return f"{named(error)}: a plugin has called sys.exit; let it raise another error (--debug shows where)", 1
    return f"{named(error)} (a fault of vqbench; --debug shows where)", 1
