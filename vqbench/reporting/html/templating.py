"""Fill the templates of pages, which escape everything from outside."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache, partial
from importlib import resources
from typing import Any

import vqbench
from vqbench.reporting.tables.table import MARKS


def fill(template: str, style: str = "page.css", script: str | None = "page.js", **context: Any) -> str:
    """Render one template to HTML.

    The files ``style`` and ``script`` are part of the page; its security policy allows these alone, by digest.
    """
    css, code = (_own(name) if name else "" for name in (style, script))
    scripts = f"script-src {_digest(code)}; " if code else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(css)}; {scripts}base-uri 'none'; form-action 'none'"
    )
    # Both are files of this package, in which no closing tag can end their elements early.
    from markupsafe import Markup

    own = {"style": Markup(css), "script": Markup(code), "policy": policy, "version": vqbench.__version__}
    page: str = _environment().get_template(template).render(**own, **context)
    return page


def _source(folder: str, name: str) -> str:
    return (resources.files("vqbench.reporting.html") / folder / name).read_text(encoding="utf-8")


def _own(name: str) -> str:
    """Return a style or a script, built for suites or a template's own."""
    folder = "front/built" if name in ("page.css", "page.js") else "templates"
    return _source(folder, name).strip()


def embedded(data: Any) -> Any:
    """Return ``data`` as JSON that no tag can end, for a data block of a page."""
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026").replace("\u2028", "\\u2028"))


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(partial(_source, "templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "significant": _significant,
        "number": _number,
        "p": _p_value,
        "setting": _setting,
        "embedded": embedded,
        "short": _short,
        "milliseconds": _milliseconds,
        "combined": _combined,
        "cut": cut,
        "marked": lambda mark: MARKS[mark],
    }
    return environment


def cut(text: str, length: int = 160) -> str:
    """Cut ``text`` at the end of a word to about ``length`` characters.

    >>> cut("rows of another suite", 15)
    'rows of another …'
    """
    if len(text) <= length:
        return text
    return f"{text[: length + 1].rpartition(' ')[0] or text[:length]} …"


def _significant(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.10g}"


def _short(value: float | None) -> str:
    """Format a number of parameters in thousands or millions."""
    if value is None:
        return "–"
    return f"{value / 1e6:,.1f}M" if value >= 1e7 else f"{value / 1e3:,.0f}k" if value >= 1e4 else f"{value:,.0f}"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _combined(data: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return data | {name: value}


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _setting(value: Any) -> str:
    """Format a setting as in the file of a suite."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
