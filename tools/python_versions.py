"""Ask the package index whether every dependency has wheels for other Python versions.

For each requirement of pyproject.toml but torch, ``pip download --only-binary=:all: --no-deps --python-version V``
finds the newest wheel that fits this platform. Prints a Markdown table; the exit code is 1 if a wheel is missing.
Nothing is installed.

    python tools/python_versions.py 3.12 3.13
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("peers", "ray", "slurm", "generate", "tensorboard")  # what users install; ``dev`` is for work on vqbench


def requirements() -> list[tuple[str, str]]:
    """Return every direct requirement but torch, each with the extra that it belongs to ("": always installed)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    groups = {"": project["dependencies"], **{extra: extras[extra] for extra in EXTRAS if extra in extras}}
    listed = [(requirement, extra) for extra, each in groups.items() for requirement in each]
    return [(requirement, extra) for requirement, extra in listed if name_of(requirement) != "torch"]


def name_of(requirement: str) -> str:
    """Return the name of the package in a requirement such as ``numpy>=1.26``."""
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]


def newest_wheel(requirement: str, python: str) -> str:
    """Return the version of the newest wheel that fits, or ``none``."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["download", "--quiet", "--only-binary=:all:", "--no-deps", "--python-version", python, "-d", folder]
        done = subprocess.run([sys.executable, "-m", "pip", *words, requirement], capture_output=True, text=True)
        wheels = [path.name.split("-")[1] for path in Path(folder).glob("*.whl")]
    if done.returncode and "No matching distribution" not in done.stderr:
        sys.exit(f"pip failed on {requirement}: {done.stderr.strip().splitlines()[-1]}")
    return wheels[0] if wheels else "none"


def main() -> None:
    """Print one row per requirement and one column per Python version."""
    parser = argparse.ArgumentParser(description="Which dependencies have wheels for other Python versions.")
    parser.add_argument("python", nargs="*", default=["3.12", "3.13"], help="versions; without any, 3.12 and 3.13")
    versions = parser.parse_args().python
    print(f"| requirement | extra | {' | '.join(f'Python {version}' for version in versions)} |")
    print("|---" * (2 + len(versions)) + "|")
    missing = []
    for requirement, extra in requirements():
        wheels = [newest_wheel(requirement, version) for version in versions]
        print(f"| `{requirement}` | {extra} | {' | '.join(wheels)} |", flush=True)
        missing += [requirement for wheel in wheels if wheel == "none"]
    if missing:
        sys.exit(f"no wheel for every version: {', '.join(dict.fromkeys(missing))}")


if __name__ == "__main__":
    main()
