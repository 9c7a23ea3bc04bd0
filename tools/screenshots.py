"""Take the screenshots of the documentation anew, from the pages of the published runs.

The browser tests take the same ones and compare.
``python tools/screenshots.py [NAME ...]`` needs Chromium and the package playwright (extra ``dev``).
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from playwright.sync_api import FloatRect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MARGIN = 12  # pixels around what is shown
BORDER, GREY = 1, "#9aa1ad"  # of each image: a grey that is seen on a light and on a dark page


@dataclass(frozen=True)
class Screenshot:
    """What one image shows."""

    selector: str  # elements whose common rectangle is shown
    height: int  # of that rectangle at most
    suite: str = "quick"
    width: int = 1366  # of the window
    prepare: str = "() => {}"  # a script that is run first


# Without milliseconds: other work ran beside these trainings.
COLUMNS = ("l1", "ssim", "lpips", "axis", "codes", "entropy", "parameters", "images")
UNTIMED = f"() => {{ location.hash = '#view:{'&'.join(f'columns={each}' for each in COLUMNS)}'; }}"
COMPARED = "() => { location.hash = '#view:mode=side&a=vq_ema&b=cvq_offline'; }"
OPEN = "() => [4, 5].forEach(i => { document.querySelectorAll('.codebook')[i].open = true; })"
SHOTS = {
    "report-table.png": Screenshot("header.full, #atlas", 1010, "modern_quick", prepare=UNTIMED),
    "report-compare.png": Screenshot("#h-compare, #comparison", 700, prepare=COMPARED),
    "report-plots.png": Screenshot("#scatter", 520, "modern_quick"),
    "report-images.png": Screenshot(".set:not([hidden]) .row-name, .set:not([hidden]) img.pixels", 900, width=1000),
    "report-codebooks.png": Screenshot("details.codebook[open]", 528, prepare=OPEN),
}


def main(names: list[str]) -> None:
    """Take the screenshots ``names``, all without any, and put them into the documentation."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        write_pages(Path(folder))
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in names or SHOTS:
            taken(browser, Path(folder), name).save(IMAGES / name, optimize=True)
        browser.close()


def write_pages(folder: Path) -> None:
    """Write the pages of the published runs into ``folder``."""
    words = ["-m", "vqbench", "report", "--index", "--store", "results", "-o", folder]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def taken(browser: Any, pages: Path, name: str) -> Image.Image:
    """Return the screenshot ``name`` with its border."""
    shot = SHOTS[name]
    page = browser.new_page(viewport={"width": shot.width, "height": 900}, reduced_motion="reduce")
    page.goto((pages / f"{shot.suite}.html").as_uri())
    page.wait_for_selector("#curves svg.plot")
    page.evaluate(shot.prepare)
    page.wait_for_timeout(1000)
    boxes = [box for each in page.locator(shot.selector).all() if (box := each.bounding_box())]  # of visible ones
    screen = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=_around(boxes, shot)))).convert("RGB")
    page.close()
    return ImageOps.expand(screen, BORDER, GREY)


def _around(boxes: list[FloatRect], shot: Screenshot) -> FloatRect:
    left, top = (max(0, min(box[side] for box in boxes) - MARGIN) for side in ("x", "y"))
    right = min(shot.width, max(box["x"] + box["width"] for box in boxes) + MARGIN)
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return {"x": left, "y": top, "width": right - left, "height": min(shot.height, bottom - top)}


if __name__ == "__main__":
    main(sys.argv[1:])
