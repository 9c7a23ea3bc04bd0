"""Fixtures of the tests of assets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asset_server import AssetServer
from vqbench import assets
from vqbench.assets import cache
from vqbench.assets.catalogue import CATALOGUE


@pytest.fixture
def server() -> Iterator[AssetServer]:
    """A server on this machine."""
    with AssetServer() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no folder of the user, no proxy; returns the folder above the cache."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for variable in ("VQBENCH_DATA", "VQBENCH_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(cache, "_remembered", {})
    return tmp_path


@pytest.fixture(scope="session")
def official() -> dict[str, Path]:
    """Return the folder of the real assets in the user's cache."""
    return {name: assets.fetch(name) for name in CATALOGUE}
