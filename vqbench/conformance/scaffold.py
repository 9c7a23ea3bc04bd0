"""Write the file of a new plugin, which works as it is and passes every check."""

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

# A kind of plugin -> an example of a name, and the options of `run` that use a plugin of this name.
KINDS = {
    "quantizer": ("my_vq", "--only {name}"),
    "metric": ("my_metric", "--metrics {name}"),
    "dataset": ("my_images", "--set 'datasets=[{name}]'"),
    "backbone": ("my_backbone", "--set backbone={name}"),
    "recipe": ("my_recipe", "--set train={name}"),
}
LONGEST = 60
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # devices, whatever the suffix
TEMPLATES = Path(__file__).with_name("templates")


def write(kind: str, name: str, folder: Path = Path()) -> Path:
    """Write ``NAME.py`` into ``folder`` and return its path.

    Raises UsageError for an unknown kind, a bad name or an existing file.
    """
    content = text(kind, name)
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{path} exists and is not overwritten; choose another name") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def next_commands(kind: str, path: Path) -> list[str]:
    """Return the commands that check the file of a new plugin and use it in a suite."""
    name = path.stem
    use = KINDS[kind][1].format(name=name)
    return [
        f"vqbench check {path}",
        f"vqbench run quick --plugin {path} {use}",
        f"vqbench table quick --plugin {path}" + (f" {use}" if kind != "quantizer" else ""),  # beside all other rows
    ]


def text(kind: str, name: str) -> str:
    """Return the content of the file of a new plugin ``name``.

    Raises UsageError for an unknown kind, and for a name that is invalid or taken.
    """
    if kind not in KINDS:
        raise UsageError(f"cannot write a new {kind!r}; {nearest(kind, KINDS)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        example = KINDS[kind][0]
        raise UsageError(f"{name[:40]!r} cannot name a {kind}; use small letters, digits and _, such as {example}")
    if len(name) > LONGEST:
        raise UsageError(f"{name[:40]!r}... is too long to name a {kind}; use {LONGEST} letters at most")
    template = (TEMPLATES / f"{kind}.py").read_text(encoding="utf-8")
    if why := _taken(name, template):
        raise UsageError(f"{name!r} is {why}; choose another name, such as my_{name}")
    return re.sub(rf"\b{kind.capitalize()}Template", _class_name(name), template)


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
