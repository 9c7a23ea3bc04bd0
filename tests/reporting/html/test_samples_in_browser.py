"""The page of a suite of generators, trained for this test, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.open_page import OpenPage
from tests.support.tiny_suite import vqbench
from vqbench.store import snapshots

pytestmark = pytest.mark.integration

SUITE = """
name: generators
title: Priors on two tokenizers
train: {clean: {epochs: 1, batch_size: 64, learning_rate: 1e-3, subset: 756}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 32, dim: 8}
quantizers: [vq, vq_ema]
generate: {autoregressive: {steps: 4, batch_size: 8, width: 16, layers: 1, heads: 2}}
samples: {count: 8, reference: test}
metrics: [psnr, copies]
"""
SHEETS = ".samples:not([hidden]) img"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generators")
    (folder / "generators.yaml").write_text(SUITE)
    assert vqbench("run", folder / "generators.yaml", "--store", folder / "runs", "--test-images", 100, "-q") == 0
    return folder


@pytest.fixture
def opened(browser: Any, store: Path) -> Iterator[OpenPage]:
    words = ("report", store / "generators.yaml", "--store", store / "runs", "--test-images", 100)
    assert vqbench(*words, "-o", store / "page.html") == 0
    opened = OpenPage(browser, store / "page.html", 1366)
    yield opened
    opened.page.close()
    assert opened.faults == []


def test_samples_stand_above_their_nearest_training_images(opened: OpenPage, store: Path) -> None:
    """Each generator has two sheets of one size, whose pixels are the stored samples and their neighbours."""
    kept = [each for path in sorted(store.glob("runs/*autoregressive*")) if (each := snapshots.read_samples(path))]
    assert len(kept) == 2
    opened.page.eval_on_selector_all(SHEETS, "all => Promise.all(all.map(each => each.decode()))")
    sheets = opened.page.eval_on_selector_all(SHEETS, PIXELS)
    pixels = [np.array(sheet, np.uint8) for sheet in sheets]  # of the first image of each sheet
    assert len(pixels) == 4
    for each in kept:
        first = [each.samples[0, 0].ravel(), each.neighbours[0, 0].ravel()]
        assert any(
            np.array_equal(pixels[i], first[0]) and np.array_equal(pixels[i + 1], first[1])
            for i in range(0, len(pixels), 2)
        )
    tops = opened.page.eval_on_selector_all(SHEETS, "all => all.map(each => each.getBoundingClientRect().top)")
    assert tops == sorted(tops)
    opened.keep("samples", "images")


# The grey levels of the first 28 x 28 pixels of each sheet.
PIXELS = """all => all.map(img => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [28, 28];
  const pen = canvas.getContext("2d");
  pen.drawImage(img, 0, 0);
  return [...pen.getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0);
})"""


def test_rows_of_the_atlas_show_samples(opened: OpenPage) -> None:
    """The thumbnails of a generator are its samples, the head says so, and a row that is hidden hides its samples."""
    thumbs = opened.page.locator("tr.row .thumbs")
    assert [each.get_attribute("alt") for each in thumbs.all()] == [
        f"{label} + autoregressive: samples" for label in opened.page.locator("tr.row .name").all_inner_texts()
    ]
    assert opened.page.locator("th[data-fact=images]").inner_text() == "samples"
    opened.page.fill("#query", "vq_ema")
    assert opened.page.locator(".samples:visible").count() == 1
