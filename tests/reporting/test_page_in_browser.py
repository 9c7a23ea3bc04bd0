"""The page in a real browser: what it shows and does, without a network and without errors.

Needs Chromium (Debian: ``apt-get install chromium``) and the package playwright; without them the tests are skipped.
``VQBENCH_SCREENSHOTS=FOLDER`` keeps screenshots of the tests there.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.simulated_suite import HOSTILE, simulated_suite
from tests.support.tiny_suite import vqbench
from vqbench.reporting.html import page

WIDTHS = {"phone": 390, "laptop": 1366, "desktop": 1920}
RESULTS = Path(__file__).parents[2] / "results"
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
        self.page.set_default_timeout(15_000)
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


def labels(seen: OpenPage, panel: int = 0) -> list[str]:
    """The names of the rows shown in a panel, from top to bottom."""
    names: list[str] = seen.page.eval_on_selector_all(
        f"#panel-0-{panel} tr.row:not([hidden]) .name", "all => all.map(each => each.textContent)"
    )
    return names


def numbers(seen: OpenPage, column: int) -> list[float | None]:
    """The values shown in a column of the first panel below its upper bound, from top to bottom."""
    texts = seen.page.eval_on_selector_all(
        f"#panel-0-0 tr.row:not([hidden]):not(.upper-bound) [data-cell='{column}'] .value",
        "all => all.map(each => each.textContent)",
    )
    return [float(text) if text.replace(".", "").isdigit() else None for text in texts]


def test_a_column_sorts(seen: OpenPage) -> None:
    """The best comes first, after another click the worst, after a third the suite's order; empty cells come last."""
    suite = ["identity", " ".join(HOSTILE.split()), "vq_ema", "cvq", "hvq", "sqvae"]
    button = seen.page.locator("[data-sort=l1] >> nth=0")
    for direction in ("ascending", "descending"):
        button.click()
        assert seen.page.locator(f"th[aria-sort={direction}]").count() == 1
        values = numbers(seen, 0)
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=direction == "descending")
        assert values[: len(known)] == known
        assert len(known) == 3
    button.click()
    assert labels(seen) == suite


def test_more_is_better_sorts_the_largest_first(seen: OpenPage) -> None:
    """The first sort of a column of which more is better shows the best row first, too; keys do as the mouse does."""
    button = seen.page.locator("button.sort[data-better=max]:visible").first
    button.focus()
    seen.page.keyboard.press("Enter")
    assert button.evaluate("each => each.closest('th').getAttribute('aria-sort')") == "descending"


def test_rows_are_filtered_and_hidden_everywhere(seen: OpenPage) -> None:
    """Words filter by name, a click hides; images and codebooks below follow, and everything comes back."""
    whole = labels(seen)
    seen.page.fill("#query", "VQ ema")
    assert labels(seen) == ["vq_ema"]
    assert "2 of 12 rows" in seen.page.locator("#count").inner_text()
    assert seen.page.locator("#images .image-row[data-label=cvq]").evaluate_all("all => all.every(each => each.hidden)")
    seen.page.fill("#query", "")
    seen.page.locator("#row-0-0-3").hover()
    seen.page.locator("#row-0-0-3 .hide").click()
    assert labels(seen) == [name for name in whole if name != "cvq"]
    assert labels(seen, 1) == [name for name in labels(seen, 1) if name != "cvq"]
    seen.page.click("#reset")
    assert labels(seen) == whole


def test_a_link_restores_the_view(browser: Any, path: Path, seen: OpenPage) -> None:
    """Filter, hidden rows, columns, metric, sort and axes are in the URL, and a page opened with it shows the same."""
    seen.page.click("#count")
    seen.page.uncheck("[data-row='2']")
    seen.page.select_option("#metric", label="l1 ↓")
    seen.page.locator("summary", has_text="columns").click()
    seen.page.uncheck("[data-column=images]")
    seen.page.locator("[data-sort=method] >> nth=0").click()
    seen.page.select_option("[data-axis=x]", "parameters")
    link = seen.page.url
    assert "#view:" in link
    again = OpenPage(browser, path)
    again.page.goto(link)
    again.page.reload()
    assert labels(again) == labels(seen)
    assert "vq_ema" not in labels(again)
    assert again.page.locator("#finding").inner_text() == seen.page.locator("#finding").inner_text()
    assert again.page.locator("[data-fact=images]:visible").count() == 0
    again.page.wait_for_selector("[data-axis=x]")
    assert again.page.locator("[data-axis=x]").input_value() == "parameters"
    assert again.faults == []
    again.page.close()


def test_a_value_opens_its_details(seen: OpenPage) -> None:
    """Mean, interval, images, seeds and the run are shown; the link unfolds the run, and Escape closes the details."""
    value = seen.page.locator("#row-0-0-2 .value").first
    value.click()
    text = seen.page.locator("#details").inner_text()
    for words in ("l1 of vq_ema", "95 % interval", "over 2 seeds", "50", "1: 0.1", "2: 0.1"):
        assert words in text, words
    seen.page.keyboard.press("Escape")
    assert seen.page.locator("#details").is_hidden()
    value.click()
    link = seen.page.locator("#details a").first
    target = seen.page.locator(str(link.get_attribute("href")))
    link.click()
    seen.page.wait_for_function("id => document.querySelector(id).open", arg=link.get_attribute("href"))
    assert "record.json" in target.inner_text()


def test_two_rows_are_compared(seen: OpenPage) -> None:
    """The slider changes the shared image, an image is chosen by index, and points without a kept image say so."""
    seen.page.wait_for_selector("[data-pick=slider]")
    drawn = "document.querySelector('.stage canvas').toDataURL()"
    before = seen.page.evaluate(drawn)
    seen.page.locator("[data-pick=slider]").fill("90")
    after = seen.page.evaluate(drawn)
    assert after != before
    chosen = seen.page.locator("[data-pick=image] option").nth(3).get_attribute("value")
    seen.page.select_option("[data-pick=image]", chosen)
    seen.page.wait_for_selector(f"figcaption:has-text('original, test image {chosen}')")
    assert f"image={chosen}" in seen.page.url
    kept = set(seen.page.locator("[data-pick=image] option").evaluate_all("all => all.map(each => each.value)"))
    points = seen.page.locator("#comparison circle")
    assert points.count() == 50
    other = next(i for i in range(50) if str(i) not in kept)
    seen.page.locator(f"#comparison circle[data-image='{other}']").dispatch_event("click")
    assert f"Test image {other} is not kept." in seen.page.locator("#comparison [role=status]").inner_text()


def test_axes_of_the_plot_are_chosen(seen: OpenPage) -> None:
    """A chosen axis is named at the plot, and its points move."""
    seen.page.wait_for_selector("#scatter svg")
    where = "[...document.querySelectorAll('#scatter .point path')].map(each => each.getAttribute('transform')).join()"
    before = seen.page.evaluate(where)
    seen.page.select_option("[data-axis=x]", "milliseconds")
    seen.page.wait_for_selector("#scatter svg[aria-label*='training [ms per update]']")
    assert seen.page.evaluate(where) != before


def saved(seen: OpenPage, selector: str) -> str:
    """The content of the file that a button saves."""
    with seen.page.expect_download() as started:
        seen.page.locator(selector).first.click()
    return Path(started.value.path()).read_text(encoding="utf-8")


def test_the_csv_of_a_view_is_that_of_the_command(
    browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows and columns shown are written as `vqbench table --format csv` writes the same selection."""
    folders = ("--store", tmp_path, "--results", RESULTS)
    assert vqbench("report", "quick", *folders, "-o", tmp_path / "quick.html") == 0
    opened = OpenPage(browser, tmp_path / "quick.html")
    opened.page.evaluate("document.querySelectorAll('.menu').forEach(each => each.open = true)")
    opened.page.check("[data-column=seconds]")
    for query, columns, options in (
        ("", [], ["--set", "metrics=[l1, ssim, psnr, lpips]"]),
        ("vq_ema", ["ssim", "psnr"], ["--only", "vq_ema", "--set", "metrics=[l1, lpips]"]),
    ):
        opened.page.fill("#query", query)
        for column in columns:
            opened.page.uncheck(f"[data-column={column}]")
        capsys.readouterr()
        assert vqbench("table", "quick", "--format", "csv", *folders, *options) == 0
        assert saved(opened, "[data-export=csv]") == capsys.readouterr().out
    assert "\\toprule" in saved(opened, "[data-export=latex]")
    assert '"suite": "quick"' in saved(opened, "[data-export=json]")
    assert saved(opened, "[data-figure=svg]").startswith("<svg")
    assert opened.faults == []
    opened.page.close()


def test_keys_reach_everything(seen: OpenPage) -> None:
    """The tab key walks through the filter, the menus, heads, values and viewers; each is seen to have the focus."""
    reached, unseen = set(), []
    for _ in range(160):
        seen.page.keyboard.press("Tab")
        name, outline = seen.page.evaluate(
            "(() => { const e = document.activeElement; return [e.id || e.dataset.pick || e.getAttribute('class')"
            " || e.dataset.axis || e.tagName, getComputedStyle(e).outlineStyle]; })()"
        )
        reached.add(name)
        if outline == "none":
            unseen.append(name)
    assert {"query", "count", "metric", "link", "sort", "value", "hide", "a", "slider"} <= reached
    assert unseen == []


def test_twenty_four_rows_fit_on_a_screen(browser: Any, tmp_path: Path) -> None:
    """At 1366 pixels a row takes at most 38, and 24 rows with all that stands above them 1,100."""
    assert vqbench("report", "modern_quick", "--store", tmp_path, "--results", RESULTS, "-o", tmp_path / "a.html") == 0
    assert (tmp_path / "a.html").stat().st_size < 6e6
    opened = OpenPage(browser, tmp_path / "a.html", 1366)
    heights = opened.page.eval_on_selector_all("tr.row", "all => all.map(each => each.offsetHeight)")
    assert len(heights) == 24
    assert max(heights) <= 38
    box = opened.page.evaluate(
        "(() => { const b = document.querySelector('.atlas').getBoundingClientRect();"
        " return [b.top, b.bottom, b.right]; })()"
    )
    assert box[0] <= 180
    assert box[1] <= 1100
    assert box[2] <= 1366
    opened.keep("atlas", height=1100)
    assert opened.faults == []
    opened.page.close()


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


def test_hostile_words_are_seen_as_text(browser: Any, tmp_path: Path) -> None:
    """Title, label, reason and log line are shown letter for letter, and nothing of them is carried out."""
    (tmp_path / "report.html").write_text(page.page(simulated_suite(tmp_path)))
    opened = OpenPage(browser, tmp_path / "report.html")
    shown = " ".join(HOSTILE.split())
    assert opened.page.title().startswith(shown)
    assert opened.page.locator("h1").inner_text().startswith(shown)
    assert shown in labels(opened)
    assert f"</pre>{shown}" in opened.page.locator(".failure pre").first.inner_text()
    assert opened.page.locator("img[src=x]").count() == 0
    assert opened.page.evaluate("document.scripts.length") == 2  # data and the page's own
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


# Text whose contrast with its background is less than 4.8 to 1.
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
    if ((a + 0.05) / (b + 0.05) < 4.8) poor.add(`${each.tagName}.${each.className}`);
  }
  return [...poor];
}"""


def test_a_print_has_two_or_three_pages(browser: Any, tmp_path: Path) -> None:
    """On A4 the atlas and the plots are printed, no control is, and nothing is cut off at the right."""
    words = ("report", "modern_quick", "--store", tmp_path, "--results", RESULTS, "-o", tmp_path / "a.html")
    assert vqbench(*words) == 0
    opened = OpenPage(browser, tmp_path / "a.html", 718)  # A4 without margins of 1 cm, at 96 pixels an inch
    opened.page.wait_for_selector("#curves svg")
    opened.page.emulate_media(media="print", color_scheme="light")
    assert opened.page.locator(".controls").is_hidden()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 718
    opened.keep("print")
    printed = opened.page.pdf(format="A4", margin=dict.fromkeys(("left", "right", "top", "bottom"), "1cm"))
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 3
    assert opened.faults == []
    opened.page.close()


@pytest.mark.parametrize("vision", ["deuteranopia", "protanopia", "achromatopsia"])
def test_no_colour_is_needed(seen: OpenPage, vision: str) -> None:
    """Where images are wanted, the plots are kept as they are seen without some colours; each row has its own mark."""
    seen.page.wait_for_selector("#scatter svg")
    session = seen.page.context.new_cdp_session(seen.page)
    session.send("Emulation.setEmulatedVisionDeficiency", {"type": vision})
    seen.keep(f"plots-{vision}", "plots")
    marks = seen.page.locator("#scatter .point > path").evaluate_all("all => all.map(e => e.getAttribute('d'))")
    assert len(marks) == len(set(marks)) > 1


def test_screenshots_for_the_documents(seen: OpenPage) -> None:
    """Where images are wanted, each section is kept as it is first seen."""
    if not os.environ.get("VQBENCH_SCREENSHOTS"):
        pytest.skip("VQBENCH_SCREENSHOTS names no folder")
    for section in ("atlas", "compare", "plots", "images", "codebooks"):
        seen.keep(section, section)
