"""The page of `vqbench measure --report`: what it shows, that it is one file, and that texts are escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqbench
from tests.measuring.conftest import levels_of, pairs, photographs, write_pairs
from tests.support.tiny_suite import vqbench as command

__all__ = ["pairs"]  # a fixture
Pairs = tuple[Path, Path]
HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def page_of(*words: object) -> str:
    """The page that `vqbench measure` writes."""
    assert command("measure", *words, "--report", "out/page.html", "--device", "cpu", "-q") == 0
    return Path("out/page.html").read_text()


def captions(page: str, group: str) -> list[str]:
    """The names of the images of one group, in order."""
    section = page.partition(f"<h3>{group}</h3>")[2].partition("<h3>")[0]
    return [html.unescape(name) for name in re.findall(r"<figcaption><b>(.*?)</b>", section)]


def images_of(page: str) -> dict[str, np.ndarray]:
    """The images of the page by their text alternative."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" width="\d+" height="\d+" alt="([^"]*)"', page)
    opened = {html.unescape(text): Image.open(io.BytesIO(base64.b64decode(data))) for data, text in found}
    return {text: np.asarray(image.convert("RGB")) for text, image in opened.items()}


def test_it_shows_table_images_histograms_and_digests(pairs: Pairs) -> None:
    """Worst, median and best are those of the values per image; pixels are those of the files; every digit is there."""
    page = page_of(*pairs, "--protocol", "official", "--protocol", "clean", "--label", "JPEG 30")
    evaluation = vqbench.evaluate(*pairs, protocol=["official", "clean"])
    for cell in (f"{value:.{d}f}" for value, d in zip(evaluation.values.value, evaluation.values.digits, strict=True)):
        assert f"<td>{cell}</td>" in page
    ranked = evaluation.per_image.query("protocol == 'clean'").sort_values("ssim")
    assert captions(page, "Worst") == ranked.name[:4].tolist()
    assert captions(page, "Best") == ranked.name[::-1][:4].tolist()
    assert captions(page, "Median") == ranked.name[10:14].tolist()
    worst = ranked.name.iloc[0]
    shown = images_of(page)
    np.testing.assert_array_equal(shown[f"original {worst}"], levels_of(pairs[0] / f"{worst}.png"))
    np.testing.assert_array_equal(shown[f"reconstruction of {worst}"], levels_of(pairs[1] / f"{worst}.jpg"))
    assert len(shown) == 36
    assert page.count('<svg class="plot"') == 3
    assert all(evaluation.about[side]["digest"] in page for side in ("originals", "reconstructions"))
    assert "pixels: truncate" in page


def test_one_file_that_runs_nothing(tmp_path: Path) -> None:
    """Texts from outside are escaped; nothing is fetched; the policy allows the page's own style alone."""
    originals, reconstructions = tmp_path / "a", tmp_path / "b"
    for folder, quality in ((originals, 100), (reconstructions, 20)):
        folder.mkdir()
        for number, levels in enumerate(photographs(3)):
            Image.fromarray(levels).save(folder / f"{HOSTILE.replace('/', '')}{number}.jpg", quality=quality)
    page = page_of(originals, reconstructions, "--label", HOSTILE)
    assert "<script" not in page
    assert html.escape(HOSTILE, quote=False).replace('"', "&#34;").replace("'", "&#39;") in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = html.unescape(policy)
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'" in policy
    assert "script-src" not in policy
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
    assert not re.search(r"\sstyle=|url\((?!#)|@import", page)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 13])
def test_few_images(tmp_path: Path, count: int) -> None:
    """However few images there are, some are shown, and none twice."""
    page = page_of(*write_pairs(tmp_path, count=count))
    names = [name for group in ("Worst", "Median", "Best") for name in captions(page, group)]
    assert len(names) == len(set(names)) == min(count // 3 * 3 or count, 12)


def test_grey_floats_infinite_values_and_large_images(tmp_path: Path) -> None:
    """Grey arrays of floats, equal pairs and large images have a page too, which says what it does with them."""
    x = np.random.default_rng(0).random((3, 1, 300, 300), np.float32)
    y = (x * 0.9).astype(np.float32)
    y[1] = x[1]
    np.save("x.npy", x)
    np.save("y.npy", y)
    page = page_of("x.npy", "y.npy")
    assert "1 image without a finite value not drawn" in page
    assert "PSNR inf dB" in page
    assert "(every 2. pixel is shown)" in page
    shown = images_of(page)
    np.testing.assert_array_equal(shown["original 000000"][..., 0], (x[0, 0, ::2, ::2] * 255).round())


def test_a_reference_alone(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples without partners have a page of the table and the digests."""
    from vqbench.api import measure_sets

    rows = vqbench.evaluate(*pairs, metrics=["l1"]).values.to_dict("records")
    monkeypatch.setattr("vqbench.execution.preparation.fetch", lambda names: {})
    monkeypatch.setattr("vqbench.measuring.set_measurement.measure_set", lambda *_: rows)
    assert measure_sets.measure_against(pairs[1], pairs[0])["l1"] == rows[0]["value"]
    page = page_of(pairs[1], "--reference", pairs[0])
    assert "<h2>Worst" not in page
    assert page.count("SHA-256 of the decoded pixels") == 2
