"""A signal ends a command with one sentence and its exit code, whatever is being imported at that moment."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Python's own start, the commands, torch, a command's own modules, and Python's end.
SENDS_WHILE_IMPORTING = """
import importlib.abc, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
class Sender(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} and not done:
            done.append(name)
            {send}
done = []
sys.meta_path.insert(0, Sender())
sys.argv[1:] = {words!r}
from vqbench.cli.app import main
main()
"""
SEND = "os.kill(os.getpid(), {number})"
SEND_AND_FAIL = "exec('try: os.kill(os.getpid(), {number})\\nexcept KeyboardInterrupt: raise ImportError from None')"
SENDS_AT_THE_END = """
import atexit, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(os.kill, os.getpid(), {number})
sys.argv[1:] = ["list", "protocols"]
from vqbench.cli.app import main
main()
"""


STOPPED = "vqbench: stopped; what was finished is kept\n"
WORDS = ["measure", "originals", "reconstructions"]


def sending(module: str, number: int, send: str = SEND, words: list[str] = WORDS) -> str:
    """A program that gets a signal when ``module`` is first imported."""
    return SENDS_WHILE_IMPORTING.format(module=module, send=send.format(number=int(number)), words=words)


def ended(code: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process that runs ``code``."""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("module", ["typer", "vqbench.cli.measure", "torch", "numpy"])
def test_interrupted_while_a_module_is_imported(module: str, tmp_path: Path) -> None:
    """Ctrl-C during any import of a command is one sentence and exit code 130."""
    assert ended(sending(module, signal.SIGINT), tmp_path) == (130, "", STOPPED)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_scheduler_s_signal_while_a_module_is_imported(name: str, tmp_path: Path) -> None:
    """The signals of schedulers have their own sentence and exit code, 75."""
    assert ended(sending("torch", signal.Signals[name]), tmp_path) == (
        75,
        "",
        f"vqbench: stopped by {name}; what was finished is kept\n",
    )


def test_a_signal_that_foreign_code_turns_into_its_own_error(tmp_path: Path) -> None:
    """Code that answers KeyboardInterrupt by another error is no fault of vqbench: the signal is named."""
    assert ended(sending("torch", signal.SIGINT, SEND_AND_FAIL), tmp_path) == (130, "", STOPPED)


def test_a_signal_after_the_end_changes_nothing(tmp_path: Path) -> None:
    """Once everything is printed, a signal during Python's own end does not turn success into a failure."""
    code, out, err = ended(SENDS_AT_THE_END.format(number=int(signal.SIGINT)), tmp_path)
    assert (code, err) == (0, "")
    assert "official" in out


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """A shell starts jobs in the background with Ctrl-C ignored, and so they stay."""
    program = sending("torch", signal.SIGINT, words=["list", "quantizers"])
    code, out, err = ended(program.replace("signal.default_int_handler", "signal.SIG_IGN"), tmp_path)
    assert (code, err) == (0, "")
    assert "cvq" in out
