"""Pages of the tests, open in headless Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.open_page import CHROMIUM, RESULTS, OpenPage
from tests.support.simulated_suite import simulated_suite
from vqbench.planning import plan_file
from vqbench.reporting.html import page
from vqbench.reporting.html.suite_view import suite_view
from vqbench.store.results import ResultStore


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; the test is skipped where it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start here: {error.message.splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page under test: that of simulated runs, or the one that VQBENCH_PAGE names."""
    if given := os.environ.get("VQBENCH_PAGE"):
        return Path(given)
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(page.page(simulated_suite(folder)))
    return folder / "report.html"


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the first 24 rows of ``modern_quick``, as published."""
    return _published("modern_quick", tmp_path_factory.mktemp("modern"), 24)


@pytest.fixture(scope="module")
def quick_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the 8 rows of ``quick``, as published."""
    return _published("quick", tmp_path_factory.mktemp("quick"), 8)


@pytest.fixture(scope="module")
def seeds_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three rows of ``quick`` with four seeds each, as published."""
    return _published("quick-00e038f6", tmp_path_factory.mktemp("seeds"), 3)


def _published(name: str, folder: Path, rows: int) -> Path:
    store = ResultStore(RESULTS)
    [plan] = [plan for plan in plan_file.stored(store) if plan.name == name]
    labels = list(dict.fromkeys(entry.label for entry in plan.entries))[:rows]
    assert len(labels) == rows
    plan = replace(plan, entries=[entry for entry in plan.entries if entry.label in labels])
    (folder / "page.html").write_text(page.page(suite_view(plan, [store], paper=True)))
    return folder / "page.html"


@pytest.fixture
def seen(browser: Any, path: Path) -> Iterator[OpenPage]:
    """The page under test, open; errors on it fail the test."""
    opened = OpenPage(browser, path)
    yield opened
    opened.page.close()
    assert opened.faults == []
