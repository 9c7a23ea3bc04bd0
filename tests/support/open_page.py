"""A report in headless Chromium: its errors, its screenshots, what it shows and saves.

Needs Chromium (Debian: ``apt-get install chromium``) and the package playwright; without them the tests are skipped.
Tests write screenshots to ``build/screenshots``, or to the folder that ``VQBENCH_SCREENSHOTS`` names.
"""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
SCREENSHOTS = Path(os.environ.get("VQBENCH_SCREENSHOTS") or ROOT / "build" / "screenshots")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


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
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.faults.append(f"request: {request.url}")

    def keep(self, name: str, anchor: str = "", height: int = 900) -> Image.Image:
        """Write a screenshot into the output of the tests, and return it.

        ``anchor``: id of the element that is scrolled to the top first.
        """
        self.page.set_viewport_size({"width": self.page.viewport_size["width"], "height": height})
        if anchor:
            self.page.evaluate("id => document.getElementById(id).scrollIntoView()", anchor)
        self.page.wait_for_timeout(200)
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        shot.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(SCREENSHOTS / f"{name}.png")
        return shot


def labels(seen: OpenPage, panel: int = 0) -> list[str]:
    """Return the names of the rows shown in a panel, from top to bottom."""
    names: list[str] = seen.page.eval_on_selector_all(
        f"#panel-0-{panel} tr.row:not([hidden]) .name", "all => all.map(each => each.textContent)"
    )
    return names


def numbers(seen: OpenPage, column: int) -> list[float | None]:
    """Return the values of a column of the first panel below its upper bound, from top to bottom."""
    texts = seen.page.eval_on_selector_all(
        f"#panel-0-0 tr.row:not([hidden]):not(.upper-bound) [data-cell='{column}'] .value",
        "all => all.map(each => each.textContent)",
    )
    return [float(text) if text.replace(".", "").isdigit() else None for text in texts]


def saved(seen: OpenPage, selector: str) -> str:
    """Return the content of the file that a button saves."""
    with seen.page.expect_download() as started:
        seen.page.locator(selector).first.click()
    return Path(started.value.path()).read_text(encoding="utf-8")
