"""Overrides: changes of a suite, as data."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from vqbench.errors import UsageError, nearest, shortened
from vqbench.planning.suite_parts import ROW_KEYS
from vqbench.planning.yamlfile import Document, KeyPath, inline, parse


@dataclass(frozen=True)
class Override:
    """A change of a suite: a value that replaces the one at a path.

    ``value`` is plain data. A path is keys joined by dots. In a list, a number picks an item, a name all items that
    are, or have, that key (``quantizers.vq.beta`` is the beta of every row of vq), or else the rows of that label.

    >>> str(Override("seeds", [1, 2])), Override.parse("train.clean.epochs=3").value
    ('seeds=[1, 2]', 3)
    """

    path: str
    value: Any
    origin: str = field(default="", compare=False)  # the option that it comes from, for errors; "": as ``--set``

    @classmethod
    def parse(cls, text: str) -> Override:
        """Parse the text of ``--set``: a path and a value in YAML. Raises UsageError."""
        origin = f"--set {shortened(text, 100)}"
        path, equals, value = text.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise UsageError(f"{origin}: not of the form path=value, such as seeds=[1,2]")
        return cls(".".join(keys), parse(value, origin).data, origin)

    @property
    def keys(self) -> list[str]:
        """The keys of the path, from the top of the suite down."""
        return self.path.split(".")

    @property
    def place(self) -> str:
        """The place that an error names."""
        return self.origin or f"--set {shortened(str(self), 100)}"

    def __str__(self) -> str:
        return f"{self.path}={inline(self.value)}"


def override(document: Document, overrides: Iterable[Override], fields: Collection[str]) -> Document:
    """A copy of ``document`` with all ``overrides`` applied, one after the other.

    ``fields`` are the keys that the top may have. Raises UsageError for a path that leads nowhere.
    """
    out = Document(copy.deepcopy(document.data), dict(document.places))
    for change in overrides:
        setter = _Setter(change, fields)
        out.data = setter.set(out.data, change.keys, ())
        for done in setter.done:
            kept = {at: place for at, place in out.places.items() if at[: len(done)] != done}
            out.places = kept | {done: change.place}
    return out


class _Setter:
    """Applies one override: ``done`` are the paths that it reached."""

    def __init__(self, change: Override, fields: Collection[str]) -> None:
        self.place, self.value, self.fields = change.place, change.value, fields
        self.done: list[KeyPath] = []

    def set(self, data: Any, keys: list[str], above: KeyPath) -> Any:
        """Set the value at ``keys`` below ``data``, and return the changed data.

        ``above`` is the path of ``data`` itself.
        """
        if not keys:
            self.done.append(above)
            return copy.deepcopy(self.value)
        if isinstance(data, list):
            return self.set_items(data, keys, above)
        if data is None or data == keys[0]:
            data = {key: None for key in [data] if key}  # a plain name that gets arguments
        if not isinstance(data, dict):
            raise self.unknown(keys[0], [data] if isinstance(data, str) else [], above)
        key, *rest = keys
        if key not in data and not self.may_be_new(key, rest, above):
            raise self.unknown(key, data if above else self.fields, above)
        data[key] = self.set(data.get(key), rest, (*above, key))
        return data

    def set_items(self, items: list[Any], keys: list[str], above: KeyPath) -> list[Any]:
        key, *rest = keys
        if key.isdecimal() and len(key) < 10 and int(key) < len(items):
            chosen, below = [int(key)], rest
        elif chosen := [index for index, item in enumerate(items) if _is(item, key)]:
            below = keys
        else:
            chosen = [index for index, item in enumerate(items) if isinstance(item, dict) and item.get("label") == key]
            below = rest
        if not chosen:
            raise self.unknown(key, [*dict.fromkeys([*map(str, range(len(items))), *_names(items)])], above)
        for index in chosen:
            items[index] = self.set(items[index], below, (*above, index))
        return items

    def may_be_new(self, key: str, rest: list[str], above: KeyPath) -> bool:
        """Whether a new key may be added.

        Known keys may, and last ones, which are checked with the suite.
        """
        if not above:
            return key in self.fields
        return not rest or key in ROW_KEYS or above[-1] == "on"

    def unknown(self, key: str, known: Iterable[str], above: KeyPath) -> UsageError:
        within = ".".join(map(str, above)) or "the suite"
        return UsageError(f"{self.place}: {within} has no {key!r}; {nearest(key, known)}")


def _is(item: Any, key: str) -> bool:
    return item == key or (isinstance(item, dict) and key in item)


def _names(items: Iterable[Any]) -> list[str]:
    """The names by which the items of a list can be picked."""
    names: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            names += [*(key for key in item if key not in ROW_KEYS), item.get("label")]
        else:
            names.append(item)
    return [name for name in names if isinstance(name, str)]
