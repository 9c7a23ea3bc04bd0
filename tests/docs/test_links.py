"""The documents where Markdown is shown plainly: links lead to files, and every page can be reached by links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import FENCE, ROOT, documents

LINK = re.compile(r"\]\(([^)\s]+)\)")
SECTIONS = sorted(path.parent for path in (ROOT / "docs").glob("*/index.md"))


def targets(path: Path) -> list[str]:
    """The relative links of a document, outside its fenced blocks."""
    return [link for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))) if "://" not in link]


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and the site name them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    """The file and the heading of each relative link exist; the page of results has the headings it includes."""
    included = {ROOT / "docs" / "trust" / "results.md": ROOT / "results" / "README.md"}
    for link in targets(path):
        name, _, anchor = link.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.relative_to(ROOT)}: {link}"
        if anchor:
            assert anchor in anchors(included.get(file, file)), f"{path.relative_to(ROOT)}: {link}"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda path: path.name)
def test_the_first_page_of_a_section_links_all_its_pages(section: Path) -> None:
    """A reader without the site's sidebar finds every page from the index of its folder."""
    linked = {link.partition("#")[0] for link in targets(section / "index.md")}
    assert {path.name for path in section.glob("*.md")} - {"index.md"} <= linked
