"""Write the file of a new quantizer, which trains and passes every check."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import keyword
import re
import sys
from pathlib import Path

from vqbench import registry
from vqbench.errors import StoreError, UsageError, nearest

KINDS = ("quantizer",)
LONGEST = 60
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # devices, whatever the suffix
TEMPLATE = Path(__file__).with_name("template.py")


def write(kind: str, name: str, folder: Path = Path()) -> Path:
    """Write ``NAME.py`` into ``folder`` and return its path.

    Raises UsageError for a bad name or an existing file.
    """
    if kind not in KINDS:
        raise UsageError(f"cannot write a new {kind!r}; {nearest(kind, KINDS)}")
    path = folder / f"{name}.py"
    content = text(name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{path} exists and is not overwritten; choose another name") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def text(name: str) -> str:
    """Return the content of the file of a new quantizer ``name``.

    Raises UsageError for a name that is invalid or taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(f"{name[:40]!r} cannot name a quantizer; use small letters, digits and _, such as my_vq")
    if len(name) > LONGEST:
        raise UsageError(f"{name[:40]!r}... is too long to name a quantizer; use {LONGEST} letters at most")
    template = TEMPLATE.read_text(encoding="utf-8")
    if why := _taken(name, template):
        raise UsageError(f"{name!r} is {why}; choose another name, such as my_{name}")
    return template.replace("class Template(", f"class {_class_name(name)}(")


def _taken(name: str, template: str) -> str:
    """What else has this name and would be confused with it; empty if nothing."""
    for kind in registry.CONTRACTS:
        if name in registry.names(kind):
            return f"a {kind[:-1]} already (`vqbench info {kind[:-1]} {name}`)"
    if name in registry.presets("quantizers"):
        return "a preset of a quantizer already"
    if keyword.issoftkeyword(name) or name in dir(builtins):
        return "a word of Python"
    if name in sys.stdlib_module_names:
        return "a module of Python, which a file of this name would hide"
    if _importable(name):
        return "an installed module, which a file of this name would hide"
    if RESERVED.fullmatch(name):
        return "not allowed as a file name on Windows"
    used = {word.asname or word.name for node in ast.walk(ast.parse(template)) for word in getattr(node, "names", ())}
    if (cls := _class_name(name)) in {*used, *dir(builtins)}:
        return f"not usable, since its class {cls} would hide another one"
    return ""


def _importable(name: str) -> bool:
    """Whether a module of this name exists outside of the working directory.

    Inside, it may be the user's own.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # it is imported, but not by the usual machinery
        return True
    return spec is not None and not (spec.origin and Path(spec.origin).parent == Path.cwd())


def _class_name(name: str) -> str:
    """Convert ``my_vq`` to MyVQ: a part without a vowel is an abbreviation."""
    parts = filter(None, name.split("_"))
    return "".join(part.capitalize() if re.search("[aeiouy]", part) else part.upper() for part in parts)
