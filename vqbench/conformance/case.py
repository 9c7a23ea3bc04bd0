"""A plugin under test, as text for another process too."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from vqbench import registry
from vqbench.errors import UsageError
from vqbench.registry import Kind

OWN = ("name", "cls", "args")  # the fields of every case


@dataclass(frozen=True)
class Case:
    """One plugin with one set of arguments.

    Subclasses, one for each kind of plugin, build and feed it. Their further fields must be plain values.
    """

    name: str
    cls: type[Any]
    args: Mapping[str, Any] = field(default_factory=dict)  # own arguments that differ from the defaults

    kind: ClassVar[Kind]

    @classmethod
    def usual_args(cls, plugin: type[Any]) -> dict[str, Any]:
        """Return the arguments with which a plugin is built unless others are given.

        Of those that a base class declares, the ones that this class takes.
        """
        declared = getattr(plugin, "check_args", {})
        taken = declared if "check_args" in vars(plugin) else inspect.signature(plugin).parameters
        return {name: value for name, value in declared.items() if name in taken}

    def missing(self) -> str:
        """Return what the plugin needs and how to get it, or nothing.

        The sentence has the form "what: what to do".
        """
        subject = f"{self.kind[:-1]} {self.name!r}"
        if lacking := registry.lacking(subject, self.cls):
            return lacking
        if absent := self.absent():
            settings = " ".join(f"--set {name}=..." for name in absent)
            return f"{subject} needs {', '.join(absent)}: give {settings}, or declare check_args in the class"
        return ""

    def absent(self) -> list[str]:
        """Return the arguments without a default that are not given."""
        return [name for name in required(self.cls, self.fixed) if name not in self.args]

    @property
    def fixed(self) -> tuple[str, ...]:
        """The arguments that no suite gives."""
        return ()

    @property
    def file(self) -> str:
        """The file that defines the class; empty if it was defined at a prompt."""
        try:
            return str(Path(inspect.getsourcefile(self.cls) or "").resolve())
        except TypeError:  # defined at a prompt
            return ""

    @property
    def about(self) -> str:
        """What the plugin is built with, in words."""
        further = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in OWN}
        return ", ".join(f"{name} {value}" for name, value in {**further, **self.args}.items())

    @property
    def importable(self) -> bool:
        """Whether another process can import the class."""
        return bool(self.file) and "<locals>" not in self.cls.__qualname__

    def to_dict(self) -> dict[str, Any]:
        """Return all that another process needs to build the same case."""
        return {
            "case": f"{type(self).__module__}:{type(self).__qualname__}",
            "module": self.cls.__module__,
            "class": self.cls.__qualname__,
            "file": self.file,
            "fields": {each.name: getattr(self, each.name) for each in fields(self) if each.name != "cls"}
            | {"args": dict(self.args)},
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Case:
        """Return the case that :meth:`to_dict` described, in this process or another."""
        plugin: Any = _module(data["module"], data["file"])
        for name in data["class"].split("."):
            plugin = getattr(plugin, name)
        case: Case = named(data["case"])(cls=plugin, **data["fields"])
        return case


def required(plugin: type[Any], fixed: Iterable[str] = ()) -> list[str]:
    """Return the arguments of a plugin without a default, but for those ``fixed``."""
    parameters = inspect.signature(plugin).parameters.values()
    own = [each for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    return [each.name for each in own if each.default is each.empty and each.name not in fixed]


def named(text: str) -> Any:
    """Import what ``text`` names, such as "package.module:name"."""
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


_files: dict[str, str] = {}  # modules that were loaded from a file here: name -> file


def _module(name: str, file: str) -> Any:
    """Import module ``name`` if it is ``file``, else load the file by that name."""
    if name not in _files:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the module exists, but one that it imports does not
        else:
            if module.__file__ and str(Path(module.__file__).resolve()) == file:
                return module
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{name}: no module and no file; write the plugin in a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name], _files[name] = module, file
    spec.loader.exec_module(module)  # again for every job: another file may have had this name
    return module
