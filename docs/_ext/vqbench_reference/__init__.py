"""Sphinx extension: the reference, generated from the code whenever the documentation is built.

Directives, for blocks of ``{eval-rst}``: ``vqbench-commands`` (all commands), ``vqbench-suite`` (the keys of suites),
``vqbench-plugins:: KIND`` (all built-in plugins of a kind), ``vqbench-api:: MODULE [classes]`` (a module's public
names).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

import vqbench
from vqbench_reference import api, commands, plugins, suites
from vqbench_reference.rst import LABEL, escaped, plain


def directive(lines: Callable[..., list[str]], arguments: int, optional: int = 0) -> type[SphinxDirective]:
    """Return a directive that shows the reStructuredText which ``lines`` returns for its arguments."""

    class Generated(SphinxDirective):
        required_arguments, optional_arguments = arguments, optional

        def run(self) -> list[nodes.Node]:
            content = StringList(lines(*self.arguments), source=f"<{self.name}>")
            node = nodes.section(document=self.state.document)
            self.state.nested_parse(content, 0, node, match_titles=True)
            self.label(node)
            return node.children

        def label(self, node: nodes.section) -> None:
            """Register the labels of sections, which MyST does not do for blocks of ``{eval-rst}``."""
            standard = self.env.domains.standard_domain
            for comment in list(node.findall(nodes.comment)):
                section = comment.next_node(nodes.section, descend=False, siblings=True, ascend=True)
                if section is None or not comment.astext().startswith(LABEL):
                    continue
                name, place = comment.astext().removeprefix(LABEL), (self.env.docname, section["ids"][0])
                standard.anonlabels[name] = place
                standard.labels[name] = (*place, section[0].astext())

    return Generated


def escape_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Escape what docstrings do not mean as markup, such as ``|`` in formulas; add what comments say of fields."""
    lines[:] = escaped(lines)
    if what == "class" and (fields := api.fields(thing)):
        own = "Args:" if is_dataclass(thing) or issubclass(thing, tuple) else "Attributes:"
        if own not in lines and "Attributes:" not in lines:
            lines += ["", own, *(f"    {field}: {plain(comment)}" for field, comment in fields.items()), ""]


def find(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element) -> nodes.Node | None:
    """Resolve a Python reference by its last name, as docstrings have them. Other broken references fail.

    A name of vqbench or of another package that no page documents is shown as text, and so is a letter of a shape.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    known = [name for name in env.domains.python_domain.objects if name.endswith(f".{target}")]
    if len(known) == 1:
        place = str(node.get("refdoc")), app.builder, node["reftype"], known[0]
        return env.domains.python_domain.resolve_xref(env, *place, node, shown)
    inside = [str(node[key]) for key in ("py:module", "py:class") if node.get(key)]
    within = [target, *(".".join([*inside[:count], target]) for count in (1, 2))]
    if len(target) == 1 or target in types() or any(name.startswith("vqbench.") and exists(name) for name in within):
        return shown
    return None


@cache
def types() -> set[str]:
    """The classes and other types of vqbench, and what its modules import from other packages.

    Autodoc has no more than such names of annotations that are imported for type checkers alone.
    """
    package = Path(vqbench.__file__).parent
    files = [*package.rglob("*.py"), *package.glob("quantizers/*.py")]  # the second is a link
    own = re.compile(r"^(?:class )?(_?[A-Z][A-Za-z]*[a-z]\w*)(?= = |: TypeAlias|\(|:$)", re.MULTILINE)
    others = re.compile(r"^\s*from (?!vqbench)[\w.]+ import ([\w, ]+)$", re.MULTILINE)
    found = set()
    for text in (file.read_text("utf-8") for file in files):
        found |= {*own.findall(text), *re.findall(r"\w+", " ".join(others.findall(text)))}
    return found


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute within one."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:count]))
        except ImportError:
            continue
        for word in words[count:]:
            fields = getattr(found, "__annotations__", {})
            if not hasattr(found, word) and word not in fields:
                return False
            found = getattr(found, word, None)
        return True
    return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives and handlers."""
    app.add_directive("vqbench-commands", directive(commands.lines, 0))
    app.add_directive("vqbench-suite", directive(suites.lines, 0))
    app.add_directive("vqbench-plugins", directive(plugins.lines, 1))
    app.add_directive("vqbench-api", directive(api.lines, 1, optional=1))
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)  # before napoleon
    app.connect("missing-reference", find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
