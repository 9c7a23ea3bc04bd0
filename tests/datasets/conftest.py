"""Fixtures of the tests of data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.image_folders import (
    fill,
    ppm_noise,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no folder of data."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 training and 5 test images."""
    root = tmp_path / "photos"
    fill(root, [f"train/{number:02}.png" for number in range(12)])
    fill(root, [f"val/{number:02}.png" for number in range(5)], first=100)
    return root


@pytest.fixture
def ppm_folder(tmp_path: Path) -> Path:
    """12 training and 5 test images."""
    for split, count in (("train", 12), ("test", 5)):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "photos" / split / f"{number:02}.ppm").write_bytes(ppm_noise(number + 100 * (split == "test")))
    return tmp_path / "photos"
