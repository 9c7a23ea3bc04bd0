"""Fill the templates of pages, which escape everything from outside."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

import vqbench


def fill(template: str, style: str = "page.css", script: str | None = "page.js", **context: Any) -> str:
    """Render one template to HTML.

    The files ``style`` and ``script`` are part of the page; its security policy allows these alone, by digest.
    """
    css, code = _source(style), "" if script is None else _source(script)
    scripts = f"script-src {_digest(code)}; " if code else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(css)}; {scripts}base-uri 'none'; form-action 'none'"
    )
    # Both are files of this package, in which no closing tag can end their elements early.
    from markupsafe import Markup

    own = {"style": Markup(css), "script": Markup(code), "policy": policy, "version": vqbench.__version__}
    page: str = _environment().get_template(template).render(**own, **context)
    return page


def _source(name: str) -> str:
    return (resources.files("vqbench.reporting.html") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"significant": _significant, "number": _number, "p": _p_value, "setting": _setting}
    return environment


def _significant(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.10g}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _setting(value: Any) -> str:
    """Format a setting as in the file of a suite."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
