"""``vqbench new``: one file that trains and passes every check, to be changed into a method of one's own."""

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
    """Write ``NAME.py`` into ``folder``; gives its path. Raises UsageError for a bad name, and never overwrites."""
    if kind not in KINDS:
        raise UsageError(f"cannot write a new {kind!r}; {nearest(kind, KINDS)}")
    path = folder / f"{name}.py"
    content = text(name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{path} is there already and stays as it is; choose another name") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def text(name: str) -> str:
    """The file of a new quantizer called ``name``. Raises UsageError for what cannot name a module, or is taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(f"{name[:40]!r} cannot name a quantizer; use small letters, digits and _, such as my_vq")
    if len(name) > LONGEST:
        raise UsageError(f"{name[:40]!r}... is too long to name a quantizer; use {LONGEST} letters at most")
    template = TEMPLATE.read_text(encoding="utf-8")
    if why := _taken(name, template):
        raise UsageError(f"{name!r} is {why}; choose another name, such as my_{name}")
    return template.replace("class Template(", f"class {_class_name(name)}(")


def _taken(name: str, template: str) -> str:
    """What else has this name, and would be confused with the new file or its class; empty if nothing has."""
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
        return "no file's name on Windows"
    used = {word.asname or word.name for node in ast.walk(ast.parse(template)) for word in getattr(node, "names", ())}
    if (cls := _class_name(name)) in {*used, *dir(builtins)}:
        return f"no good name, since its class {cls} would hide another one"
    return ""


def _importable(name: str) -> bool:
    """Whether there is a module of this name elsewhere than in the working directory, where it may be one's own."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # it is imported, in some way of its own
        return True
    return spec is not None and not (spec.origin and Path(spec.origin).parent == Path.cwd())


def _class_name(name: str) -> str:
    """``my_vq`` as MyVQ: a part without a vowel is an abbreviation."""
    parts = filter(None, name.split("_"))
    return "".join(part.capitalize() if re.search("[aeiouy]", part) else part.upper() for part in parts)
