"""The sections below the atlas in a real browser: two rows compared, plots, images."""

from __future__ import annotations

from tests.support.open_page import OpenPage


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
