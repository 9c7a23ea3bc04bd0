"""The house rules: imports point one way, light rooms are light, and names and sizes stay readable.

``docs/explanation/architecture.md`` draws what is tested here.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import vqbench
import vqbench.quantizers

PACKAGE = Path(vqbench.__file__).parent
QUANTIZERS = Path(next(iter(vqbench.quantizers.__path__)))
ROOT = Path(__file__).parents[1]

# Modules and packages that never import torch, with all that is in them ...
LIGHT = (
    *("api", "bounds", "errors", "protocol", "registry", "spec", "store", "system", "planning", "reporting", "cli"),
    *("execution.executors", "execution.messages", "execution.callbacks", "execution.progress", "execution.stopping"),
    *("execution.suite_runner", "distributed.launching", "evaluation.explaining.protocol_differences"),
    *("profiling.profile_driver", "profiling.profile_tables", "profiling.subjects"),
)
HEAVY = {"vqbench.execution.executors.inline"}  # ... but for these

# What a plugin may import from the project, besides its siblings: only what an outside plugin can rely on.
EVERYONES = {"errors", "bounds", "system.paths"}
PLUGINS = {
    "quantizers": {"quantizer", "functional"},
    "metrics": {"metric", "protocol", "functional", "assets", "images", "networks"},
    "backbones": {"backbone", "assets"},
    "datasets": {"dataset", "assets", "images", "system.files"},
}
PLUGIN_FOLDERS = ("backbones", "cli", "datasets", "metrics", "quantizers", "recipes")  # as many files as it takes
MOST_ENTRIES, MOST_AT_THE_TOP = 15, 33
MOST_LINES = 60  # of a function
MOST_LETTERS = 79  # of a docstring's first line
SAME_NAMES: set[str] = set()  # classes that may be called alike, each with the reason


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name without ``vqbench.``; the package itself is ``""``."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "quantizers.py" or PACKAGE / "quantizers" in path.parents or QUANTIZERS in path.parents:
            continue
        words = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(words).removesuffix("__init__").removesuffix(".")] = path
    for path in QUANTIZERS.glob("*.py"):
        found[f"quantizers.{path.stem}".removesuffix(".__init__")] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """The project's modules that a file imports, anywhere in it but for type checkers alone."""
    known = modules()
    skipped = {
        id(inner)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree(path)):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides what is imported"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner.removeprefix("vqbench.") in known else str(node.module))
    return frozenset(
        name.removeprefix("vqbench.") for name in found if name.startswith("vqbench.") and name[8:] in known
    )


def room(name: str) -> str:
    """The folder, or the file, at the package's top that a module is part of."""
    return name.partition(".")[0]


def definitions() -> Iterator[tuple[Path, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every module, class and function of the project."""
    for path in modules().values():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_imports_point_one_way() -> None:
    """No module of the project imports itself, directly or by way of others."""
    graph = {name: imports(path) - {"", name} for name, path in modules().items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_rooms_point_one_way() -> None:
    """Nor does a room import itself by way of other rooms."""
    rooms: dict[str, set[str]] = {}
    for name, path in modules().items():
        rooms.setdefault(room(name), set()).update(room(other) for other in imports(path))
    graphlib.TopologicalSorter({name: others - {name} for name, others in rooms.items()}).prepare()


def test_rooms_import_what_the_architecture_says() -> None:
    """``docs/explanation/architecture.md`` lists, for each room, the rooms that it imports: these and no others."""
    drawn = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    listed = {
        words[0]: set(words[1].replace(",", " ").split()) - {"-"}
        for line in drawn.splitlines()
        if (words := re.findall(r"`([^`]*)`", line)) and line.startswith("| `") and len(words) == 2
    }
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        if name:
            found.setdefault(room(name), set()).update({room(other) for other in imports(path)} - {room(name), ""})
    assert listed == found


@pytest.mark.parametrize("folder", PLUGINS)
def test_plugins_import_their_contract_alone(folder: str) -> None:
    """A built-in plugin imports only what an outside plugin can rely on."""
    allowed = PLUGINS[folder] | EVERYONES | {folder}
    for name, path in modules().items():
        if name.startswith(f"{folder}."):
            strangers = [
                other for other in imports(path) if not f"{other}.".startswith(tuple(f"{a}." for a in allowed))
            ]
            assert not strangers, f"{path.name} imports {strangers}"


def test_core_names_no_plugin() -> None:
    """Nothing outside of a plugin's folder imports one: the core reaches plugins through the registry alone."""
    plugin = re.compile(r"(quantizers|metrics|datasets|backbones|recipes)\.\w+$")
    for name, path in modules().items():
        if not plugin.match(name):
            assert not [other for other in imports(path) if plugin.match(other)], path


def test_no_library_module_imports_the_command_line() -> None:
    """Only ``python -m vqbench`` imports ``cli``: whatever a command shows, a library function returns."""
    for name, path in modules().items():
        if room(name) not in ("cli", "__main__"):
            assert not [other for other in imports(path) if room(other) == "cli"], path


def test_light_rooms_do_not_import_torch() -> None:
    """Commands that only read are instant, because none of the modules they need imports torch."""
    light = [f"vqbench.{name}" for name in modules() if f"{name}.".startswith(tuple(f"{each}." for each in LIGHT))]
    code = f"import sys\nfor name in {sorted({*light} - HEAVY)!r}: __import__(name)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_two_classes_are_called_alike() -> None:
    """The name of a class says what it is without its module."""
    counts = Counter(node.name for _, node in definitions() if isinstance(node, ast.ClassDef))
    assert {name for name, count in counts.items() if count > 1} == SAME_NAMES


def test_folders_can_be_taken_in_at_a_glance() -> None:
    """A folder of machinery has few entries; plugins and commands, one a file, may be as many as they are."""
    sizes: Counter[Path] = Counter()
    for path in {*modules().values(), *(path.parent for path in modules().values())} - {PACKAGE}:
        if path.name not in ("__init__.py", "__main__.py"):
            sizes[path.parent] += 1
    sizes[PACKAGE] -= QUANTIZERS.parent != PACKAGE  # counted below, wherever the folder is
    top = {room(name) for name in modules()} - {"", "__main__"}
    assert len(top) <= MOST_AT_THE_TOP, sorted(top)
    for folder, size in sizes.items():
        if folder not in (PACKAGE, PACKAGE.parent) and folder.name not in PLUGIN_FOLDERS:
            assert size <= MOST_ENTRIES, f"{folder.relative_to(PACKAGE)} has {size} entries"


def test_functions_are_short() -> None:
    """A function fits on a screen."""
    for path, node in definitions():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MOST_LINES, f"{path.name}: {node.name} has {lines} lines"


def test_docstrings_begin_with_a_complete_line() -> None:
    """The first line of a docstring is short, and a sentence or a phrase of its own."""
    wrong = []
    for path, node in definitions():
        first = (ast.get_docstring(node) or ".").splitlines()[0]
        if len(first) > MOST_LETTERS or not first.rstrip('`*)”"').endswith((".", ":", "?", ">")):
            wrong.append(f"{path.name}:{getattr(node, 'lineno', 1)} {first}")
    assert not wrong, "\n".join(wrong)
