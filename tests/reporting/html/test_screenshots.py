"""The pictures in README and docs, taken again by the browser tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.open_page import SCREENSHOTS

pytestmark = pytest.mark.slow

SIDE = 24  # pixels to which pictures are reduced, so that fonts hardly matter


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the published runs."""
    from tools import screenshots

    folder = tmp_path_factory.mktemp("pages")
    screenshots.write_pages(folder)
    return folder


def reduced(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)


@pytest.mark.parametrize("name", ["compare", "codebooks", "images", "plots", "table"])
def test_the_pictures_of_the_docs_show_today_s_page(browser: Any, pages: Path, name: str) -> None:
    """A picture in README and docs has the size and appearance of a fresh one, kept with the other screenshots."""
    from tools import screenshots

    file = f"report-{name}.png"
    fresh = screenshots.taken(browser, pages, file)
    (SCREENSHOTS / "docs").mkdir(parents=True, exist_ok=True)
    fresh.save(SCREENSHOTS / "docs" / file)
    with Image.open(screenshots.IMAGES / file) as shown:
        assert shown.size == pytest.approx(fresh.size, rel=0.05), "run python tools/screenshots.py"
        apart = np.abs(reduced(shown) - reduced(fresh)).mean()
    assert apart < 6, "run python tools/screenshots.py"


def test_every_picture_is_compared(browser: Any) -> None:
    """No picture that the tool takes is left out above."""
    from tools import screenshots

    assert sorted(screenshots.SHOTS) == sorted(
        f"report-{name}.png" for name in ("compare", "codebooks", "images", "plots", "table")
    )
