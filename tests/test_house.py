"""The house rules: imports point one way, and the light rooms never import torch."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vqbench
import vqbench.quantizers

PACKAGE = Path(vqbench.__file__).parent
QUANTIZERS = Path(next(iter(vqbench.quantizers.__path__)))
LIGHT = (
    *("bounds", "errors", "protocol", "registry", "spec", "store", "system", "planning", "reporting", "cli"),
    *("execution.executors", "execution.jobs", "execution.progress", "execution.stopping", "distributed.launching"),
    *("profiling.profile_driver", "profiling.profile_tables", "profiling.subjects", "training.seeding"),
)  # with all that is in them, but for:
HEAVY = {"vqbench.execution.executors.inline", "vqbench.conformance.template"}
EVERYONES = {"vqbench.errors", "vqbench.bounds", "vqbench.system.paths"}
# Who of ours a room may import, beside what stands for itself.
ROOMS = {
    "quantizers": {"vqbench.quantizer", "vqbench.functional"},
    "metrics": {
        "vqbench.metric",
        "vqbench.protocol",
        "vqbench.functional",
        "vqbench.assets",
        "vqbench.images",
        "vqbench.networks",
    },
    "backbones": {"vqbench.backbone", "vqbench.assets"},
    "datasets": {"vqbench.dataset", "vqbench.assets", "vqbench.system.files"},
}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "quantizers.py" or QUANTIZERS in path.parents:
            continue
        words = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(words).removesuffix(".__init__")] = path
    for path in QUANTIZERS.glob("*.py"):
        found[f"vqbench.quantizers.{path.stem}".removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The project's modules that a file imports, anywhere in it but for type checkers alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides who is imported"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else str(node.module))
    return {name for name in found if name in known}


def test_imports_point_one_way() -> None:
    """No module of the project imports, directly or by others, itself."""
    known = modules()
    graph = {name: imports(path, set(known)) - {"vqbench", name} for name, path in known.items()}
    graph["vqbench"] = set()
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_plugins_know_only_their_contract(room: str) -> None:
    """A built-in plugin imports no more of the project than a stranger's could rely on."""
    known = modules()
    for name, path in known.items():
        if name.startswith(f"vqbench.{room}."):
            allowed = ROOMS[room] | EVERYONES | {f"vqbench.{room}"}  # a sibling is fine
            strangers = {
                other
                for other in imports(path, set(known))
                if not any(other == door or other.startswith(f"{door}.") for door in allowed)
            }
            assert not strangers, f"{path.name} imports {strangers}"


def test_core_names_no_plugin() -> None:
    """Nothing outside of a plugin's room imports one: the core reaches plugins through the registry alone."""
    known = modules()
    plugin = re.compile(r"vqbench\.(quantizers|metrics|datasets|backbones)\.\w+$")
    for name, path in known.items():
        if not plugin.match(name):
            assert not [other for other in imports(path, set(known)) if plugin.match(other)], path


def test_rooms_point_one_way() -> None:
    """Nor does a room, of whatever modules, import itself by way of others; what lies in none is a room of its own."""
    known = modules()
    rooms: dict[str, set[str]] = {}
    for name, path in known.items():
        if name != "vqbench":
            room = name.split(".")[1]
            rooms.setdefault(room, set()).update(
                other.split(".")[1] for other in imports(path, set(known)) if "." in other
            )
            rooms[room].discard(room)
    graphlib.TopologicalSorter(rooms).prepare()  # raises CycleError


def test_light_rooms_do_not_import_torch() -> None:
    """Commands that only read are instant, because none of the modules they need imports torch."""
    light = [name for name in modules() if f"{name}.".startswith(tuple(f"vqbench.{room}." for room in LIGHT))]
    code = f"import sys\nfor name in {sorted({*light} - HEAVY)!r}: __import__(name)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
