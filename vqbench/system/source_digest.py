"""Digests of Python files, independent of layout and comments."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def digest(content: bytes, folder: Path) -> str:
    """Compute the sha256 of the syntax trees of a file and its own modules.

    These are all in ``folder`` that it imports. Modules that these import from there are included; installed packages
    are not. Raises SyntaxError or ValueError for invalid Python.
    """
    trees = {"": ast.parse(content)}
    waiting = [trees[""]]
    while waiting:
        for path in sorted(_beside(waiting.pop(), folder)):
            if (name := path.relative_to(folder).as_posix()) not in trees:
                trees[name] = ast.parse(path.read_bytes())
                waiting.append(trees[name])
    result = hashlib.sha256()
    for name, tree in sorted(trees.items()):
        for token in (name, *tokens(tree)):
            result.update(token.encode("utf-8", "surrogatepass") + b"\0")
    return result.hexdigest()


def tokens(tree: ast.AST) -> Iterator[str]:
    """Yield a syntax tree as words, the same under every version of Python.

    Fields are named; empty ones and docstrings are left out. Later versions add fields, which are empty in files that
    earlier ones can read. Iterative, since a sum of a thousand terms is a tree of that depth.
    """
    stack: list[Any] = [tree]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.AST):
            stack.append(")")
            for name in sorted(each._fields, reverse=True):
                value = _field(each, name)
                if value is not None and value != []:
                    stack += [value, f"{name}="]
            stack.append(f"({type(each).__name__}")
        elif isinstance(each, list):
            stack += ["]", *reversed(each), "["]
        else:
            yield each if isinstance(each, str) else _constant(each)


def _field(node: ast.AST, name: str) -> Any:
    """The value of a field, without statements that are a text.

    Docstrings are such statements. Constants are words.
    """
    value = getattr(node, name, None)
    if isinstance(node, ast.JoinedStr):
        return _joined(value or [])
    if isinstance(node, ast.Constant):
        return _constant(value) if name == "value" else None  # not whether it was written with a u
    if isinstance(value, list):
        return [each for each in value if not _is_text(each)]
    if name == "format_spec" and value is not None and not _joined(value.values):
        return None
    return value


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _joined(values: list[Any]) -> list[Any]:
    """The parts of an f-string, the same under every version of Python.

    Versions differ by how they split the text between expressions.
    """
    parts: list[Any] = []
    for each in values:
        if not isinstance(each, ast.Constant):
            parts.append(each)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += str(each.value)
        elif each.value:
            parts.append(str(each.value))
    return [_constant(part) if isinstance(part, str) else part for part in parts]


def _constant(value: Any) -> str:
    """A constant with its type as one word.

    Whole numbers are hexadecimal, which has no limit of digits.
    """
    return f"{type(value).__name__}:{hex(value) if type(value) is int else ascii(value)}"


def _beside(tree: ast.AST, folder: Path) -> Iterator[Path]:
    """The files directly in ``folder`` that ``tree`` imports.

    Of packages, all files.
    """
    for name in {name.partition(".")[0] for name in _imported(tree)} - {"vqbench"}:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):  # it cannot be imported, or not in the common way
            continue
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.suffix != ".py":
            continue
        if origin.parent == folder:
            yield origin
        elif origin.name == "__init__.py" and origin.parent.parent == folder:
            yield from origin.parent.rglob("*.py")


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
