"""The page for everybody: keys, contrast, colours, small and large screens, paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.open_page import OpenPage

pytestmark = pytest.mark.integration

WIDTHS = {"phone": 390, "laptop": 1366, "desktop": 1920}


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


def test_a_print_has_two_or_three_pages(browser: Any, modern: Path) -> None:
    """On A4 the atlas and the plots are printed, no control is, and nothing is cut off at the right."""
    opened = OpenPage(browser, modern, 718)  # A4 without margins of 1 cm, at 96 pixels an inch
    opened.page.wait_for_selector("#curves svg.plot")
    opened.page.emulate_media(media="print", color_scheme="light")
    assert opened.page.locator(".controls").is_hidden()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 718
    opened.keep("print")
    printed = opened.page.pdf(format="A4", margin=dict.fromkeys(("left", "right", "top", "bottom"), "1cm"))
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 3
    assert opened.faults == []
    opened.page.close()


SECTIONS = ("atlas", "compare", "plots", "images", "codebooks")


@pytest.mark.parametrize("vision", ["", "achromatopsia", "deuteranopia", "protanopia"])
def test_screenshots_as_seen_without_some_colours(browser: Any, quick_page: Path, vision: str) -> None:
    """Every section is kept as it is seen by all eyes; without colours, nothing but greys is left of it."""
    opened = OpenPage(browser, quick_page, 1366)
    opened.page.wait_for_selector("#curves svg.plot")
    opened.page.wait_for_selector(".stage canvas")
    opened.page.locator(".codebook").evaluate_all("all => all.slice(0, 2).forEach(each => { each.open = true; })")
    if vision:
        session = opened.page.context.new_cdp_session(opened.page)
        session.send("Emulation.setEmulatedVisionDeficiency", {"type": vision})
    for section in SECTIONS:
        shot = np.asarray(opened.keep("-".join(filter(None, [section, vision])), section), dtype=np.int16)
        colour = int((shot.max(2) - shot.min(2)).max())
        assert colour < 8 if vision == "achromatopsia" else colour > 50
    assert opened.faults == []
    opened.page.close()


def marks(opened: OpenPage) -> list[tuple[str, bool]]:
    """The outline of each point of the scatter plot, and whether its name stands beside it."""
    opened.page.wait_for_selector("#scatter .point")
    found: list[list[Any]] = opened.page.locator("#scatter .point").evaluate_all(
        "all => all.map(e => [e.querySelector('.marker').getAttribute('d'), !!e.querySelector('text')])"
    )
    return [(outline, named) for outline, named in found]


def test_marks_of_eight_rows_differ_by_shape(browser: Any, quick_page: Path) -> None:
    """No two rows of a plot have the same outline; each has it as a point, on its curve and beside its name."""
    opened = OpenPage(browser, quick_page, 1366)
    opened.page.select_option("#scatter [data-axis=x]", "milliseconds")
    opened.page.wait_for_selector("#scatter svg[aria-label*='training [ms per update]']")
    outlines = [outline for outline, _ in marks(opened)]
    assert len(outlines) == len(set(outlines)) == 8
    on_curves = opened.page.locator("#curves g[data-method]").evaluate_all(
        "all => all.map(g => [...g.querySelectorAll('.marker')].map(e => e.getAttribute('d')))"
    )
    assert len(on_curves) == 8
    assert all(len(set(own[:-1])) == 1 for own in on_curves)  # of every epoch
    assert len({own[-1] for own in on_curves}) == 8  # beside the name
    opened.page.close()


def test_marks_of_more_rows_are_named(browser: Any, modern: Path) -> None:
    """With more rows than outlines, every point has its name beside it."""
    opened = OpenPage(browser, modern, 1366)
    points = marks(opened)
    assert len(points) == 23  # the upper bound has no entropy
    assert all(named for _, named in points)
    opened.page.close()


def test_no_information_is_by_colour_alone(seen: OpenPage) -> None:
    """Where the reader's own colours replace the page's, best, second, states and choices still differ."""
    seen.page.emulate_media(forced_colors="active")
    look = "e => [getComputedStyle(e).fontWeight, getComputedStyle(e).textDecorationLine, e.textContent].map(String)"
    best, second, other = (
        seen.page.locator(f"#panel-0-0 .row:not(.upper-bound) td.ok{rank} .value").first.evaluate(look)[:2]
        for rank in (".best", ".second", ":not(.best):not(.second)")
    )
    assert int(best[0]) >= 700 > int(second[0])
    assert second[1] == "underline"
    assert best[1] == other[1] == "none"
    assert int(other[0]) < 700
    assert seen.page.locator("td.failed .value").first.inner_text() == "FAILED"
    assert seen.page.locator("td.missing .value").first.inner_text() == "not run"
    pressed = "e => getComputedStyle(e, '::before').content"
    assert "✓" in seen.page.locator("[aria-pressed=true]").first.evaluate(pressed)
    assert "✓" not in seen.page.locator("[aria-pressed=false]").first.evaluate(pressed)
    assert seen.page.locator(".upper-bound circle.hollow").count() == seen.page.locator(".upper-bound").count() > 0
    assert "Hollow dot: upper bound" in seen.page.locator(".legend-line").first.inner_text()
    assert seen.page.locator("#comparison .kept-image").first.get_attribute("r") == "5"
    assert seen.page.locator("#comparison circle:not(.kept-image)").first.get_attribute("r") == "2"
    seen.keep("atlas-forced-colours")
