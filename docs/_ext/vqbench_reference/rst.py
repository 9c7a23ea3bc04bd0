"""Write reStructuredText: sections, tables, and docstrings as it reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LABEL = "label of the next section: "  # a comment that the directives read
CODE = re.compile(r"(`+[^`]+`+|(?<![\w-])--?[a-z][a-z-]*)")
STRONG = r"(?<!\w)\*\*(?=\S)[^*]+(?<=\S)\*\*(?!\w)"
LITERAL = re.compile(rf"(``.*?``|:[a-z:]+:`[^`]*`|`[^`]*`|{STRONG})", re.DOTALL)


def section(title: str, underline: str, label: str = "") -> list[str]:
    """Return the title of a section, which other pages refer to by its label."""
    before = [f".. {LABEL}{label}", ""] if label else []
    return [*before, title, underline * (2 * len(title)), ""]  # twice: some letters are wide


def table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: str = "auto") -> list[str]:
    """Return a table; cells are reStructuredText on one line."""
    out = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        for number, cell in enumerate(row):
            out.append(f"   {'*' if number == 0 else ' '} - {cell}".rstrip())
    return [*out, ""]


def literal(text: str, language: str = "text") -> list[str]:
    """Return a block of text as it is."""
    return [f".. code-block:: {language}", "", *(f"   {line}" for line in text.splitlines()), ""]


def code(value: object) -> str:
    """Return a value as code, within a line."""
    return f"``{value}``"


def plain(text: str) -> str:
    """Escape a text on one line; what is in backticks, and options such as ``--set``, become literals."""
    parts = CODE.split(" ".join(text.split()))
    shown = "".join(_escape(part) if number % 2 == 0 else f"``{part.strip('`')}``" for number, part in enumerate(parts))
    return re.sub(r"^(?=\w+[.)] )", r"\\", shown)  # "Y. Zhao" is no item of a list


def escaped(lines: Sequence[str]) -> list[str]:
    """Escape the lines of a docstring, but for literals, roles, strong text and blocks of code."""
    out: list[str] = []
    block: int | None = None  # the indentation of the line that a block of code follows
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is None and not line.lstrip().startswith(">>>"):
            parts = LITERAL.split(line)
            out.append("".join(_escape(part) if number % 2 == 0 else part for number, part in enumerate(parts)))
        else:
            out.append(line)
        if block is None and line.rstrip().endswith("::"):
            block = indent
    return out


def _escape(text: str) -> str:
    text = re.sub(r"([\\|])", r"\\\1", text)
    text = re.sub(r"(?<![\w*])\*(?=\*?\w+:)", "\0", text)  # *args: of a list of arguments, which napoleon escapes
    text = re.sub(r"\*", r"\\*", text).replace("\0", "*")
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)
