"""Size and speed of a suite's page with 8, 24 and 100 rows, in headless Chromium.

    python tests/benchmarks/page_speed.py              # builds the pages, measures, prints a table
    python tests/benchmarks/page_speed.py --rows 24    # of one size

Every row has up to 70 images of noise on CIFAR10, which no PNG makes small, and values of 1,000 test images. First
paint is the browser's first contentful paint, ready the end of the page's script, both from the start of navigation.
Each interaction is real input by mouse or keyboard; its time lasts from the input to the next frame (the browser's
event timing, in steps of 8 ms; shorter than 16 ms has no entry). The median and the largest of several are printed,
then, for machines with other load, the median of what the page's thread computed, with what it draws after the frame.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vqbench.reporting.html import page

SUPPORT = Path(__file__).parents[1] / "support"
ROWS = (8, 24, 100)
OBSERVE = """() => { window.lasted = []; new PerformanceObserver(list => {
  for (const each of list.getEntries()) window.lasted.push(each.duration);
}).observe({ type: "event", durationThreshold: 16 }); }"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
READY = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
SHORTEST = 16.0  # milliseconds


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="numbers of rows (default 8 24 100)")
    parser.add_argument("--times", type=int, default=5, help="loads of each page, and inputs of each kind (default 5)")
    chosen = parser.parse_args(words)
    from playwright.sync_api import sync_playwright
    from tabulate import tabulate

    many_rows = runpy.run_path(str(SUPPORT / "simulated_suite.py"))["many_rows"]
    lines = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for rows in chosen.rows:
            file = Path(folder, f"{rows}.html")
            file.write_text(page.page(many_rows(Path(folder, str(rows)), rows)))
            lines.append(
                {"rows": rows, "MB": f"{file.stat().st_size / 1e6:.1f}", **measured(browser, file, chosen.times)}
            )
        print(f"Chromium {browser.version}, {os.cpu_count()} CPUs; milliseconds, median and largest of {chosen.times}")
        browser.close()
    print(tabulate(lines, headers="keys", disable_numparse=True))


def measured(browser: Any, file: Path, times: int) -> dict[str, str]:
    """Return the times of loading a page and of every kind of input, in milliseconds."""
    paints, ready, loads = [], [], []
    for _ in range(times):
        opened = browser.new_page(viewport={"width": 1366, "height": 900})
        session = _session(opened)
        opened.goto(file.as_uri(), timeout=120_000)
        opened.wait_for_timeout(300)
        paints.append(opened.evaluate(PAINT))
        ready.append(opened.evaluate(READY))
        loads.append(_computed(session))
        opened.close()
    opened = browser.new_page(viewport={"width": 1366, "height": 900})
    opened.goto(file.as_uri(), timeout=120_000)
    opened.wait_for_selector("#curves svg.plot")
    opened.wait_for_timeout(1000)
    opened.evaluate(OBSERVE)
    session = _session(opened)
    results = {"first paint": _words(paints), "ready": f"{_words(ready)}, {statistics.median(loads):.0f}"}
    for name, act in INPUTS.items():
        lasted, computed = [], []
        for i in range(times):
            opened.evaluate("() => { window.lasted = []; }")
            before = _computed(session)
            act(opened, i)
            opened.wait_for_timeout(400)
            computed.append(_computed(session) - before)
            lasted.append(max(opened.evaluate("window.lasted"), default=SHORTEST))
        results[name] = f"{_words(lasted)}, {statistics.median(computed):.0f}"
        if opened.locator("#reset").is_visible():
            opened.click("#reset")
            opened.wait_for_timeout(400)
    opened.close()
    return results


def _session(opened: Any) -> Any:
    """Return a session with the page's thread that counts its computing, not its waiting."""
    session = opened.context.new_cdp_session(opened)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return session


def _computed(session: Any) -> float:
    """Return the milliseconds that the page's thread has computed so far."""
    known = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(1000 * known["TaskDuration"])


def _words(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ({max(values):.0f})"


def _filter(opened: Any, i: int) -> None:
    opened.click("#query")
    opened.keyboard.press("Backspace" if i % 2 else "1")


def _metric(opened: Any, i: int) -> None:
    opened.focus("#metric")
    opened.keyboard.press("ArrowUp" if i % 2 else "ArrowDown")


def _hide(opened: Any, i: int) -> None:
    opened.locator(".hide:visible").first.click(force=True)


def _compare(opened: Any, i: int) -> None:
    opened.locator("[data-pick=slider]").focus()
    opened.keyboard.press("ArrowRight")


INPUTS: dict[str, Callable[[Any, int], None]] = {
    "sort": lambda opened, i: opened.locator(".sort:visible").nth(2).click(),
    "filter": _filter,
    "metric": _metric,
    "details": lambda opened, i: opened.locator(".value:visible").nth(i).click(),
    "slider": _compare,
    "hide": _hide,
}

if __name__ == "__main__":
    main()
