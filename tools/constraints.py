"""Write ``constraints.txt``: the versions that computed the published records.

A record states the versions of the packages that decide values; those that vqbench requires are listed. A record made
without an optional package has no say on it. Fails if two records name different versions of one package.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from vqbench.system.provenance import NOT_INSTALLED

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
# The versions of the packages that computed the published records, by tools/constraints.py:
#     python -m pip install -c constraints.txt .
# Python {python}; torch was the build for CPUs.
"""


def versions() -> dict[str, set[str]]:
    """Return the versions of each package in all published records, of training and of every evaluation."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "results").glob("*/record.json")):
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["made"]
        for each in (made, *made.get("measured", ())):
            for package, version in each.get("versions", {}).items():
                if version != NOT_INSTALLED:
                    found.setdefault(package, set()).add(version)
    return found


def required() -> set[str]:
    """Return the names of all packages that vqbench requires, also for its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return {Requirement(requirement).name.lower() for group in groups for requirement in group}


def constraints() -> str:
    """Return the content of the file."""
    found = versions()
    several = {package: each for package, each in found.items() if len(each) > 1 and package in required()}
    if several:
        sys.exit(f"published records have several versions of {', '.join(several)}: {several}")
    pins = [
        f"{package}=={Version(version).public}"
        for package, (version, *_) in sorted((package, sorted(each)) for package, each in found.items())
        if package in required()
    ]
    return HEAD.format(python=" and ".join(sorted(found["python"]))) + "\n".join(pins) + "\n"


if __name__ == "__main__":
    (ROOT / "constraints.txt").write_text(constraints(), encoding="utf-8")
