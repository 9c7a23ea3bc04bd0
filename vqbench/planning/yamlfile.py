"""YAML as plain data, with the place of every key, for error messages.

Scalars follow YAML 1.2: ``1e-4`` is a number, and ``on``, ``no`` and ``yes`` are words, not truth values.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vqbench.errors import UsageError
from vqbench.system.files import open_regular

MAX_BYTES = 1_000_000
FAR_TOO_LARGE = 2**62  # so that a file above MAX_BYTES gets the message below
MAX_NODES = 10_000  # after aliases are followed: a few lines of aliases of aliases can mean billions

KeyPath = tuple[str | int, ...]  # keys and positions, from the top of a file down


@dataclass
class Document:
    """Plain data, and the place where each part of it is written."""

    data: Any
    places: dict[KeyPath, str] = field(default_factory=lambda: {(): "suite"})  # "file:line:column" or "--set ..."

    def error(self, path: KeyPath, message: str) -> UsageError:
        """An error with the place and key of ``path`` and a message, on one line."""
        place = next(self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places)
        key = ".".join(map(str, path))
        colon = "" if message.startswith("is ") else ":"  # "seeds.1 is 'a'", but "seeds.1: listed twice"
        return UsageError(": ".join([place, f"{key}{colon} {message}" if key else message]).replace("\n", " "))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012  # filled below


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012  # the loader's, so that what is written is read back the same

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _InlineDumper(_Dumper):
    def text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if "\n" in data else None)


_InlineDumper.add_representer(str, _InlineDumper.text)

_DIGITS = [*"-+.0123456789"]
for _tag, _pattern, _first in (  # the core schema of YAML 1.2, section 10.3.2
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _DIGITS),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", _DIGITS),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)

_BAD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def dump(data: Any) -> str:
    """``data`` as YAML that :func:`parse` reads back the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def inline(data: Any) -> str:
    """``data`` as YAML on one line that :func:`parse` reads back the same."""
    text: str = yaml.dump(
        data, Dumper=_InlineDumper, sort_keys=False, default_flow_style=True, allow_unicode=True, width=math.inf
    )
    return text.removesuffix("\n").removesuffix("\n...")


def read(path: Path) -> Document:
    """Read the YAML file ``path``.

    Raises UsageError, with the place, for invalid YAML.
    """
    try:
        with open_regular(path, FAR_TOO_LARGE) as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text; a suite is a YAML file") from None
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_BYTES:,} bytes; a suite is a short YAML file")
    return parse(text, str(path))


def parse(text: str, file: str) -> Document:
    """Parse YAML to plain data, with the ``file:line:column`` of each part.

    Raises UsageError.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {(): file})
        return _YamlReader(file).document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        hint = "; indent with spaces, not tabs" if r"'\t'" in str(error.problem) else ""
        what = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
        raise UsageError(f"{place}: not valid YAML: {what}{hint}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{file}: not valid YAML: {' '.join(str(error).split())}; is it a text file?") from None
    except RecursionError:
        raise UsageError(f"{file}: is nested too deeply; a suite is a short YAML file") from None


class _YamlReader:
    """Converts nodes to plain data, and records their places."""

    def __init__(self, file: str) -> None:
        self.file, self.nodes, self.open = file, 0, set[int]()
        self.out = Document(None, {})

    def document(self, node: yaml.Node) -> Document:
        self.note((), node)
        self.out.data = self.value(node, ())
        return self.out

    def note(self, path: KeyPath, node: yaml.Node) -> None:
        self.out.places[path] = f"{self.file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.out.error(path, f"more than {MAX_NODES:,} values, aliases included; write a smaller suite")
        if id(node) in self.open:
            raise self.out.error(path, "an alias to what it is a part of; write the value out")
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            value: Any = self.mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            value = self.sequence(node, path)
        else:
            value = self.scalar(node, path)
        self.open.remove(id(node))
        return value

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self.expect(node, "map", path)
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node, path) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                shown = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "a list or a mapping"
                line = key_node.start_mark.line + 1
                raise self.out.error(path, f"the key on line {line} is {shown}; keys are words (quote it if it is one)")
            if key in out:
                first = self.out.places[*path, key].removeprefix(f"{self.file}:").partition(":")[0]
                self.note((*path, key), key_node)
                raise self.out.error((*path, key), f"the same key is also on line {first}; remove one of the two")
            self.note((*path, key), key_node)
            out[key] = self.value(value_node, (*path, key))
        return out

    def sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        self.expect(node, "seq", path)
        for index, item in enumerate(node.value):
            self.note((*path, index), item)
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def scalar(self, node: yaml.Node, path: KeyPath) -> str | int | float | bool | None:
        text: str = node.value
        if _BAD.search(text):
            raise self.out.error(path, "holds a character that cannot be printed; remove it")
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str":
                return text
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" | "float" as kind:
                return self.number(text, kind, path)
            case tag:
                raise self.out.error(path, f"{text[:40]!r} with the tag {tag!r} is not plain data; remove the tag")

    def number(self, text: str, kind: str, path: KeyPath) -> int | float:
        try:
            number = _whole(text) if kind == "int" else float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError:
            raise self.out.error(path, f"{text[:40]!r} is not a number, or too large a one") from None
        if not math.isfinite(number):
            raise self.out.error(path, f"{text[:40]} is not a finite number; write one")
        return number

    def expect(self, node: yaml.Node, tag: str, path: KeyPath) -> None:
        if node.tag != f"tag:yaml.org,2002:{tag}":
            raise self.out.error(path, f"the tag {node.tag!r} is not plain data; remove it")


def _whole(text: str) -> int:
    number = int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if abs(number) >= 2**63:
        raise ValueError("too large")
    return number
