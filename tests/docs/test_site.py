"""The site: it builds without a warning, and opens from disk with its search and without a network.

Run by `tox -e docs`, which installs what builds it. The browser is Chromium with the package playwright.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT

pytest.importorskip("sphinx", reason="the extra docs is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link or reference, or a page that no table of contents lists, fails the build."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-d", folder / "trees", ROOT / "docs", folder / "html"]
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "html"


def test_the_site_builds_strictly(site: Path) -> None:
    """Every page of docs/ is built, without a warning."""
    for page in (ROOT / "docs").rglob("*.md"):
        if "_build" not in page.parts:
            assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """No page names a script, style, image or font of another server; links for readers may leave."""
    loads = re.compile(
        r"""(?:<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=|url\(|@import )["']?(?:https?:)?//[^"')>]*"""
    )
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert not loads.findall(path.read_text(encoding="utf-8")), path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_search_works_from_disk(site: Path, browser: Any) -> None:
    """A search on the opened file finds pages; nothing else is requested, and no error is logged."""
    page = browser.new_page()
    requests: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((site / "index.html").as_uri())
    page.fill(".sidebar-search", "architecture")
    page.press(".sidebar-search", "Enter")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert "Architecture" in page.inner_text("#search-results")
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
    assert not faults
    page.close()
