"""Take the screenshots of the documentation anew, from the page of the published runs of ``quick``.

``python tools/screenshots.py`` needs Chromium and the package playwright (extra ``dev``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import FloatRect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
MARGIN = 8  # pixels around what is shown

# File name: the elements whose common rectangle is shown, and how much of its height at most.
SHOTS = {
    "report-table.png": ("header, #atlas", 900),
    "report-compare.png": ("#compare", 600),
    "report-images.png": ("#images .row-name, #images img.pixels", 1000),
    "report-codebooks.png": ("details.codebook[open]", 900),
}


def main() -> None:
    """Write the page of ``quick`` into a temporary folder and take every screenshot of it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        page_file = Path(folder) / "report.html"
        words = ["-m", "vqbench", "report", "quick", "--store", "results", "-o", str(page_file)]
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (selector, height) in SHOTS.items():
            page = browser.new_page(viewport={"width": 1366, "height": 900})
            page.goto(page_file.as_uri())
            page.wait_for_selector(".stage canvas")
            page.locator(".codebook").evaluate_all("all => all.slice(1, 3).forEach(each => { each.open = true; })")
            boxes = [box for each in page.locator(selector).all() if (box := each.bounding_box())]  # of visible ones
            page.screenshot(path=ROOT / "docs" / "images" / name, full_page=True, clip=_around(boxes, height))
        browser.close()


def _around(boxes: list[FloatRect], height: float) -> FloatRect:
    left, top = (min(box[side] for box in boxes) - MARGIN for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return {"x": left, "y": top, "width": right - left, "height": min(height, bottom - top)}


if __name__ == "__main__":
    main()
