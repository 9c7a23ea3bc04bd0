"""The atlas in a real browser: sort, filter, columns, permalink, details and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.open_page import RESULTS, OpenPage, labels, numbers, saved
from tests.support.simulated_suite import HOSTILE, simulated_suite
from tests.support.tiny_suite import vqbench
from vqbench.reporting.html import page

pytestmark = pytest.mark.integration


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


def test_the_latex_of_a_view_has_the_marks_of_the_command(
    browser: Any, seeds_page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Best, second, spread and † of every value are written as `vqbench table --format latex` writes them."""
    opened = OpenPage(browser, seeds_page)
    opened.page.evaluate("document.querySelectorAll('.menu').forEach(each => each.open = true)")
    for key in ("l1", "ssim", "psnr", "lpips", "usage", "perplexity", "seconds"):
        opened.page.check(f"[data-column={key}]")
    lines = [line for line in saved(opened, "[data-export=latex]").splitlines() if line.endswith("\\\\")]
    words = ("--only", "vq", "--only", "vq_ema", "--only", "cvq_online", "--seeds", "42,43,44,45")
    metrics = ("--set", "metrics=[l1, ssim, psnr, lpips, usage, perplexity]")
    capsys.readouterr()
    folders = ("--store", tmp_path, "--results", RESULTS)
    assert vqbench("table", "quick", "--format", "latex", *folders, *words, *metrics) == 0
    table = capsys.readouterr().out
    assert "\\textbf{37.3}" in table
    for line in lines[1:]:
        assert line in table
    assert sum("\\textsuperscript{\\textdagger{}}" in line for line in lines) == 1
    opened.page.close()
    assert opened.faults == []


def test_twenty_four_rows_fit_on_a_screen(browser: Any, modern: Path) -> None:
    """At 1366 pixels a row takes at most 38, and 24 rows with all that stands above them 1,100."""
    assert modern.stat().st_size < 6e6
    opened = OpenPage(browser, modern, 1366)
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


def test_several_seeds_fit_in_the_width_of_a_laptop(browser: Any, seeds_page: Path) -> None:
    """With spreads beside the values, too, the images of each row end within 1366 pixels."""
    opened = OpenPage(browser, seeds_page, 1366)
    assert opened.page.locator("tr.row .spread:visible").count() >= 9
    right = opened.page.evaluate("document.querySelector('.atlas').getBoundingClientRect().right")
    assert right <= 1366
    assert opened.faults == []
    opened.page.close()


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
