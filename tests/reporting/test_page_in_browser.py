"""The page in a real browser: it sorts, switches, fits the screen, uses no network and logs no errors.

Needs Chromium (Debian: ``apt-get install chromium``) and the package playwright; without them the tests are skipped.
``VQBENCH_SCREENSHOTS=FOLDER`` keeps screenshots of the tests there.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.simulated_suite import HOSTILE, simulated_suite
from vqbench.reporting.html import page

WIDTHS = {"phone": 390, "laptop": 1280}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
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


class OpenPage:
    """A page in the browser, and the errors on it."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._requested)
        self.page.goto(path.as_uri())

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.faults.append(f"request: {request.url}")

    def keep(self, name: str, anchor: str = "", height: int = 900) -> None:
        """Keep a screenshot, if these are wanted."""
        if folder := os.environ.get("VQBENCH_SCREENSHOTS"):
            self.page.set_viewport_size({"width": self.page.viewport_size["width"], "height": height})
            if anchor:
                self.page.evaluate("id => document.getElementById(id).scrollIntoView()", anchor)
            self.page.wait_for_timeout(200)
            shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            shot.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                Path(folder) / f"{name}.png", optimize=True
            )


@pytest.fixture
def seen(browser: Any, path: Path) -> Iterator[OpenPage]:
    opened = OpenPage(browser, path)
    yield opened
    opened.page.close()
    assert opened.faults == []


def numbers(seen: OpenPage, column: int) -> list[list[float | None]]:
    """The values of a column of the first table in their current order, block by block."""
    return seen.page.eval_on_selector_all(
        ".results >> nth=0 >> tbody",
        "(bodies, column) => bodies.map(body => [...body.querySelectorAll('tr.row')].map(row =>"
        " row.cells[column].dataset.value === undefined ? null : Number(row.cells[column].dataset.value)))",
        column,
    )


def test_a_column_sorts(seen: OpenPage) -> None:
    """A click sorts each block, the best first; a second the other way, a third as it was; empty cells come last."""
    before = numbers(seen, 1)
    button = seen.page.locator(".results >> nth=0 >> button.sort").nth(1)
    for direction in ("ascending", "descending"):
        button.click()
        assert seen.page.locator("th[aria-sort=" + direction + "]").count() == 1
        for block, was in zip(numbers(seen, 1), before, strict=True):
            values = [value for value in block if value is not None]
            assert values == sorted(values, reverse=direction == "descending")
            assert block[: len(values)] == values
            assert sorted(values) == sorted(value for value in was if value is not None)
    button.click()
    assert numbers(seen, 1) == before


def test_more_is_better_sorts_the_largest_first(seen: OpenPage) -> None:
    """The first click on a column of which more is better shows the best row first, too; keys do as the mouse does."""
    button = seen.page.locator("button.sort[data-better=max]").first
    button.focus()
    seen.page.keyboard.press("Enter")
    assert button.evaluate("each => each.closest('th').getAttribute('aria-sort')") == "descending"


def test_sets_of_images_switch(seen: OpenPage) -> None:
    """One set is seen at a time, the one whose button is pressed; error maps come and go."""
    tabs = seen.page.locator("[data-switch] >> nth=0 >> [aria-controls]")
    assert tabs.count() == 4
    for i in (2, 1, 0):
        tabs.nth(i).click()
        pressed = [tabs.nth(j).get_attribute("aria-pressed") == "true" for j in range(4)]
        shown = [seen.page.locator(f"#{tabs.nth(j).get_attribute('aria-controls')}").is_visible() for j in range(4)]
        assert pressed == shown == [j == i for j in range(4)]
    maps = seen.page.locator(".set:not([hidden]) .error-map").first
    assert not maps.is_visible()
    seen.page.locator("[data-errors]").first.click()
    assert maps.is_visible()


def test_images_are_magnified_whole_and_sharp(seen: OpenPage) -> None:
    """Every image of a set is drawn at a whole multiple of its size, and without smoothing."""
    seen.page.eval_on_selector_all("img", "all => Promise.all(all.map(each => each.decode()))")
    images = seen.page.eval_on_selector_all(
        ".set:not([hidden]) img.pixels",
        "all => all.map(i => [i.width / i.naturalWidth, getComputedStyle(i).imageRendering, i.alt])",
    )
    assert images
    for times, rendering, alternative in images:
        assert times == int(times) > 1
        assert rendering == "pixelated"
        assert alternative


def test_a_number_leads_to_its_run(seen: OpenPage) -> None:
    """The link of a cell unfolds the details of its run."""
    link = seen.page.locator(".results td.ok a").first
    target = seen.page.locator(str(link.get_attribute("href")))
    assert target.get_attribute("open") is None
    link.click()
    seen.page.locator(f"{link.get_attribute('href')}[open]").wait_for()
    assert "record.json" in target.inner_text()


def test_hostile_words_are_seen_as_text(browser: Any, tmp_path: Path) -> None:
    """Title, label, reason and log line are shown letter for letter, and nothing of them is carried out."""
    (tmp_path / "report.html").write_text(page.page(simulated_suite(tmp_path)))
    opened = OpenPage(browser, tmp_path / "report.html")
    shown = " ".join(HOSTILE.split())
    assert opened.page.title().startswith(shown)
    assert opened.page.locator("h1").inner_text().startswith(shown)
    assert shown in opened.page.locator(".results tbody th[scope=row]").nth(1).inner_text()
    assert f"</pre>{shown}" in opened.page.locator(".failure pre").first.inner_text()
    assert opened.page.locator("img[src=x]").count() == 0
    assert opened.page.evaluate("document.scripts.length") == 1
    assert opened.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_nothing_is_wider_than_the_screen(browser: Any, path: Path, device: str, scheme: Any) -> None:
    """On a phone as on a laptop the page itself never scrolls sideways, and its words have contrast, light or dark."""
    opened = OpenPage(browser, path, WIDTHS[device], color_scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    width = opened.page.evaluate("document.documentElement.scrollWidth")
    assert width <= WIDTHS[device]
    assert opened.page.evaluate(CONTRAST) == []
    opened.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = false)")
    opened.page.evaluate("scrollTo(0, 0)")
    opened.keep(f"{device}-{scheme}")
    assert opened.faults == []
    opened.page.close()


# Text whose contrast with its background is less than 4.5 to 1 (WCAG 2, AA).
CONTRAST = """() => {
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const ground = each => { for (; each; each = each.parentElement) {
    const found = parts(getComputedStyle(each).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found; } return [255, 255, 255]; };
  const poor = new Set();
  for (const each of document.querySelectorAll('body *')) {
    const own = [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !each.checkVisibility() || each.closest('svg, script, style')) continue;
    const [a, b] = [light(parts(getComputedStyle(each).color)), light(ground(each))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.add(`${each.tagName}.${each.className}`);
  }
  return [...poor];
}"""


def test_on_paper_everything_is_there(browser: Any, path: Path, tmp_path: Path) -> None:
    """Printed on A4, all sets of images are shown, no button is, and nothing is cut off at the right."""
    opened = OpenPage(browser, path, 718)  # A4 without margins of 1 cm, at 96 pixels an inch
    opened.page.emulate_media(media="print", color_scheme="light")
    assert opened.page.locator("nav").is_hidden()
    assert opened.page.locator(".set").evaluate_all("all => all.every(each => each.offsetHeight > 0)")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 718
    wide = opened.page.eval_on_selector_all(
        ".scroll", "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"
    )
    assert wide == []
    opened.keep("print")
    assert opened.page.pdf(format="A4", margin=dict.fromkeys(("left", "right"), "1cm")).startswith(b"%PDF")
    assert opened.faults == []


def test_screenshots_for_the_documents(seen: OpenPage) -> None:
    """Where images are wanted, each section is kept as it is first seen."""
    if not os.environ.get("VQBENCH_SCREENSHOTS"):
        pytest.skip("VQBENCH_SCREENSHOTS names no folder")
    for section in ("table", "images", "codebooks", "rate"):
        seen.keep(section, section)
