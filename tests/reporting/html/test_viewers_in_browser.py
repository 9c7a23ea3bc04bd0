"""The sections below the atlas in a real browser: two rows compared, plots, images."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.open_page import OpenPage
from vqbench.reporting.html.templating import embedded

pytestmark = pytest.mark.integration


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


def test_images_are_zoomed_by_keys_and_buttons(seen: OpenPage) -> None:
    """+ and − enlarge the image within its frame, arrow keys move it, and both frames of a pair show the same part."""
    seen.page.select_option("[data-pick=mode]", "side")
    frames = seen.page.locator("#comparison .pane")
    frames.nth(1).wait_for()
    size = "e => [e.clientWidth, e.firstChild.clientWidth]"
    frame, image = frames.first.evaluate(size)
    assert frame == image
    frames.first.focus()
    seen.page.keyboard.press("+")
    for each in frames.all():
        assert each.evaluate(size)[1] == 2 * image
    assert seen.page.locator("[data-pick=zoom]").inner_text() == "2 ×"
    before = frames.first.evaluate("e => e.scrollLeft")
    seen.page.keyboard.press("ArrowRight")
    seen.page.wait_for_function("was => document.querySelector('#comparison .pane').scrollLeft > was", arg=before)
    seen.page.wait_for_function(
        "() => { const [a, b] = document.querySelectorAll('#comparison .pane');"
        " return Math.abs(a.scrollLeft - b.scrollLeft) < 1; }"
    )
    seen.page.click("[data-pick=smaller]")
    assert frames.first.evaluate(size)[1] == image


def changed(path: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a page whose data ``change`` has changed."""
    text = path.read_text()
    block = re.compile(r'(<script type="application/json" id="model">)(.*?)(</script>)', re.S)
    found = block.search(text)
    assert found
    model = json.loads(found[2])
    change(model)
    (folder / "changed.html").write_text(text[: found.start(2)] + str(embedded(model)) + text[found.end(2) :])
    return folder / "changed.html"


def on_front(opened: OpenPage) -> list[str]:
    """The rows that the dashed line of the scatter plot goes through."""
    opened.page.wait_for_selector("#scatter .on-front")
    names: list[str] = opened.page.locator("#scatter .on-front").all_text_contents()
    caption = opened.page.locator("#scatter figcaption").inner_text()
    assert all(name in caption for name in names)
    return names


def test_the_front_of_a_plot_leaves_out_what_the_table_does_not_rank(
    browser: Any, quick_page: Path, tmp_path: Path
) -> None:
    """A row on the front leaves it once it is not ranked; it is still a point. An unranked column has no front."""
    opened = OpenPage(browser, quick_page, 1366)
    before = on_front(opened)
    points = opened.page.locator("#scatter .point").count()
    opened.page.close()
    assert "sqvae" in before

    def unrank(model: Any) -> None:
        for row in model["views"][0]["panels"][0]["rows"]:
            for cell in row["cells"]:
                cell["unranked"] = "other budget" if row["label"] == "sqvae" else ""

    opened = OpenPage(browser, changed(quick_page, tmp_path, unrank), 1366)
    assert "sqvae" not in on_front(opened)
    assert opened.page.locator("#scatter .point").count() == points
    opened.page.close()

    def unrank_column(model: Any) -> None:
        for column in model["views"][0]["columns"]:
            column["unranked"] = "too few images"

    opened = OpenPage(browser, changed(quick_page, tmp_path, unrank_column), 1366)
    opened.page.wait_for_selector("#scatter .point")
    assert opened.page.locator("#scatter .front").count() == 0
    assert "No front: too few images." in opened.page.locator("#scatter figcaption").inner_text()
    assert opened.faults == []
    opened.page.close()


def test_a_plot_of_one_row_has_one_tick_an_axis(browser: Any, quick_page: Path) -> None:
    """With one row shown, each axis has the value of that row as its only tick, and there is no front."""
    opened = OpenPage(browser, quick_page, 1366)
    opened.page.fill("#query", "hvq")
    opened.page.wait_for_function("() => document.querySelectorAll('#scatter .point').length === 1")
    ticks = opened.page.locator("#scatter svg.plot > text:not(.axis)").all_text_contents()
    assert len(ticks) == 2
    label = opened.page.locator("#scatter .point").get_attribute("aria-label")
    assert label == f"hvq: {ticks[1]}, {ticks[0]}"
    assert opened.page.locator("#scatter .front").count() == 0
    opened.page.close()


def test_axes_of_the_plot_are_chosen(seen: OpenPage) -> None:
    """A chosen axis is named at the plot, and its points move."""
    seen.page.wait_for_selector("#scatter svg")
    where = "[...document.querySelectorAll('#scatter .point path')].map(each => each.getAttribute('transform')).join()"
    before = seen.page.evaluate(where)
    seen.page.select_option("[data-axis=x]", "milliseconds")
    seen.page.wait_for_selector("#scatter svg[aria-label*='training [ms per update]']")
    assert seen.page.evaluate(where) != before


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
