"""``vqbench new``: one file that trains and passes every check, to be changed into a method of one's own."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from vqbench import registry
from vqbench.errors import StoreError, UsageError, nearest

KINDS = ("quantizer",)
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
        raise UsageError(f"{name!r} cannot name a quantizer; use small letters, digits and _, such as my_vq")
    if name in registry.names("quantizers"):
        raise UsageError(f"{name!r} is a quantizer already (`vqbench info quantizer {name}`); choose another name")
    return TEMPLATE.read_text(encoding="utf-8").replace("class Template(", f"class {_class_name(name)}(")


def _class_name(name: str) -> str:
    """``my_vq`` as MyVQ: a part without a vowel is an abbreviation."""
    parts = filter(None, name.split("_"))
    return "".join(part.capitalize() if re.search("[aeiouy]", part) else part.upper() for part in parts)
