"""Start other processes with this very vqbench.

Their command line is ``python -P processes.py [--path PATH] -m MODULE [WORD ...]``.

``python -m`` puts the working directory first on the import path. Another vqbench that lies there, such as a checkout
after ``git pull``, would then train instead of the driver's, and a file called ``statistics.py`` would replace Python's
own. So vqbench is imported from the folder that holds this file, and nothing from the working directory. What they
print is UTF-8, whatever the locale: vqbench reads it.
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
PYTHON = (sys.executable, "-P", str(ITSELF))  # an interpreter with this vqbench; to be followed by ``-m MODULE``
FIND_VQBENCH = "import importlib.util as u; spec = u.find_spec('vqbench'); print(spec.origin if spec else '')"


def command(module: str, *words: object) -> list[str]:
    """Return the command line of a process that runs ``module``.

    It can import whatever this process can.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return [*PYTHON, "--path", path, "-m", module, *map(str, words)]


def missing_path() -> list[str]:
    """Return the folder that other interpreters need to import this vqbench.

    Empty where this vqbench is the installed one.
    """
    finding = [sys.executable, "-P", "-c", FIND_VQBENCH]
    origin = subprocess.run(finding, capture_output=True, text=True, check=False).stdout.strip()
    ours = (PACKAGE / "__init__.py").resolve()
    return [] if origin and Path(origin).resolve() == ours else [str(PACKAGE.parent)]


def forget_working_directory() -> None:
    """Remove the working directory from the import path.

    ``python -m vqbench`` has put it first.
    """
    with suppress(OSError):  # the directory was removed
        if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
            del sys.path[0]


def _write_utf8() -> None:
    """Let this process print UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def main(words: Sequence[str]) -> None:
    """Import the vqbench around this file, then run a module as the program."""
    _write_utf8()
    at = list(words).index("-m")
    module, sys.argv = words[at + 1], list(words[at + 1 :])
    path = words[1].split(os.pathsep) if words[0] == "--path" else []
    sys.path += [entry for entry in path if entry and entry not in sys.path]  # last: hides nothing of this interpreter
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
