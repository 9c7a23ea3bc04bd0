"""The public names of a module, for autodoc."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap

FIELD = re.compile(r"^    ([a-zA-Z]\w*): [^#\n]*  # (.+)$", re.MULTILINE)


def lines(module: str, only: str = "") -> list[str]:
    """Return autodoc's directive for each public name that a module defines or lists in ``__all__``.

    Listed names come functions first. With ``only`` "classes", functions are left out.
    """
    loaded = importlib.import_module(module)
    listed = sorted(getattr(loaded, "__all__", ()), key=lambda name: inspect.isclass(getattr(loaded, name)))
    names = listed or [
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    ]
    out = [f".. py:module:: {module}", ""]
    for name in names:
        value = getattr(loaded, name)
        if inspect.isclass(value):
            members = [] if issubclass(value, tuple) else ["   :members:"]
            out += [f".. autoclass:: {module}.{name}", *members, ""]
        elif callable(value) and only != "classes":
            out += [f".. autofunction:: {module}.{name}", ""]
    return out


def fields(cls: type) -> dict[str, str]:
    """Return the annotated fields of a class, each with the comment on its line."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    return dict(FIELD.findall(source))
