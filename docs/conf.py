"""Settings of the documentation: `tox -e docs` builds it, and fails at a broken link or reference."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import vqbench

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "vqbench"
author = "the authors of vqbench"
copyright = "the authors of vqbench"
version = release = vqbench.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "vqbench_reference"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3  # links to headings, page.md#heading, work here as on GitHub

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_ivar = True  # a docstring may describe an attribute that is also a documented property
nitpick_ignore_regex = [  # not built here
    ("py:.*", r"(torch|nn|np|numpy|pd|pandas|os|pathlib|collections|typing)\..*"),
    ("py:.*", "DataFrame|SuiteLike"),  # imported for type checkers alone
    ("py:class", "[A-Z]"),  # sizes in a shape, (N, C, H, W)
]

# The site opens from disk and loads nothing from elsewhere: system fonts, no remote scripts, no badges.
html_theme = "furo"
html_title = "vqbench"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # summaries are fetched, which browsers refuse for files on disk
html_theme_options = {"top_of_page_buttons": []}


def _unless_empty_glob(record: logging.LogRecord) -> bool:
    """Drop a warning that Sphinx cannot be told to drop: a pattern in a table of contents may match no page."""
    return getattr(record, "subtype", None) != "empty_glob"


logging.getLogger("sphinx.sphinx.directives.other").addFilter(_unless_empty_glob)
