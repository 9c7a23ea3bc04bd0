"""Processes of this very vqbench: started as ``python -P processes.py -m MODULE [WORD ...]``.

``python -m`` puts the working directory first on the path. Another vqbench that lies there, such as a checkout after
``git pull``, would then train instead of the driver's, and a file called ``statistics.py`` would take the place of
Python's own. So vqbench is imported from the folder that holds this file, and from the working directory nothing.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ITSELF = Path(__file__).absolute()
PACKAGE = ITSELF.parents[1]
PYTHON = (sys.executable, "-P", str(ITSELF))  # an interpreter with this vqbench, which wants ``-m MODULE``
PATH = "VQBENCH_PATH"  # what the starting process can import from, for the started one
ASKED = "import importlib.util as u; found = u.find_spec('vqbench'); print(found.origin if found else '')"


def command(module: str, *words: object) -> list[str]:
    """The command line of another process, which runs ``module``."""
    return [*PYTHON, "-m", module, *map(str, words)]


def environment() -> dict[str, str]:
    """This process's environment, with its path beside it: what can be imported here can be imported there."""
    return {**os.environ, PATH: os.pathsep.join(entry for entry in sys.path if entry)}


def missing_path() -> list[str]:
    """The folder that other interpreters of this installation need on their path to import this vqbench, if any."""
    asked = [sys.executable, "-P", "-c", ASKED]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    ours = (PACKAGE / "__init__.py").resolve()
    return [] if found and Path(found).resolve() == ours else [str(PACKAGE.parent)]


def forget_working_directory() -> None:
    """Take off the path what ``python -m vqbench`` has put first on it."""
    with suppress(OSError):  # it was removed
        if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
            del sys.path[0]


def main(words: Sequence[str]) -> None:
    """Import the vqbench around this file, then run the module that ``words`` name as the program."""
    at = list(words).index("-m")
    module, sys.argv = words[at + 1], list(words[at + 1 :])
    there = os.environ.pop(PATH, "").split(os.pathsep)
    sys.path += [entry for entry in there if entry and entry not in sys.path]  # last: nothing there hides another
    spec = importlib.util.spec_from_file_location(
        "vqbench", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["vqbench"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["vqbench"])
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
