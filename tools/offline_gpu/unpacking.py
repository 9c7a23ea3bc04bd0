"""Join packed pieces on the other machine, and install them beside its torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pieces
from packing import NAME
from pieces import OfflineError

FIND = "import importlib.util as u; s = u.find_spec({!r}); print(s.origin if s else '')"


def unpack(folder: Path, home: Path) -> Path:
    """Add the pieces in ``folder`` to those in ``home``; install once all are there.

    Returns the Python of the new environment. It has the packed wheels, and torch from where the Python that runs this
    has it. The packed torchvision is for a machine without one: one that is there fits its torch.

    Raises:
        PiecesMissing: Some pieces have yet to come; those of ``folder`` are kept in ``home``.
        OfflineError: A piece is damaged, torch does not exist or does not fit, or pip fails.
    """
    python, arrived = home / "venv" / "bin" / "python", home / "pieces"
    if (home / "ready.json").is_file():
        return python
    _collect(folder, arrived)
    facts = pieces.manifest(arrived, NAME)
    if facts["python"] != (here := f"{sys.version_info.major}.{sys.version_info.minor}"):
        raise OfflineError(f"the wheels are for Python {facts['python']}, this is {here}; pack with --python {here}", 2)
    pieces.join(arrived, NAME, home)
    _environment(python)
    there = bool(_find("torchvision", python))
    wheels = [path for path in sorted((home / "wheels").glob("*.whl")) if not (there and path.match("torchvision-*"))]
    _run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", *wheels])
    (home / "ready.json").write_text(json.dumps({key: facts[key] for key in ("python", "torch", "commit")}) + "\n")
    shutil.rmtree(arrived)
    shutil.rmtree(home / "wheels")
    return python


def _collect(folder: Path, arrived: Path) -> None:
    """Copy the manifest and the pieces that are in ``folder``, each verified."""
    arrived.mkdir(parents=True, exist_ok=True)
    if (folder / f"{NAME}.json").is_file():
        shutil.copy2(folder / f"{NAME}.json", arrived)
    entries = pieces.manifest(arrived, NAME)["pieces"]
    absent = pieces.missing(folder, entries)
    for entry in entries:
        if entry["name"] not in absent:
            shutil.copy2(folder / entry["name"], arrived)


def _environment(python: Path) -> None:
    """Create the environment of ``python``, which sees the torch of this one."""
    origin = _find("torch", sys.executable)
    if not origin:
        raise OfflineError(f"{sys.executable}: torch is not installed here; use the Python that has it", 2)
    _run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", python.parents[1]])
    if not _find("torch", python):  # it is in an environment too, not in that of the system
        site = next((python.parents[1] / "lib").glob("python*/site-packages"))
        (site / "torch_from_elsewhere.pth").write_text(f"{Path(origin).parents[1]}\n")


def _find(package: str, python: str | Path) -> str:
    """Return the file of a package that ``python`` would import, empty if there is none."""
    return _run([python, "-c", FIND.format(package)]).strip()


def _run(command: list[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")
        raise OfflineError(
            f"{' '.join(map(str, command[1:4]))} failed with exit code {done.returncode}: {last.strip()}"
        )
    return done.stdout
