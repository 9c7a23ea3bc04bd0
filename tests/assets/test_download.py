"""Downloads are resumed, never mixed, and given up soon where nothing answers."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.support.asset_server import IMAGES, AssetServer, address, set_catalogue, small_asset
from vqbench import assets
from vqbench.assets import download
from vqbench.errors import AssetError


def test_broken_download_is_resumed(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a broken connection only the rest is requested, and the file is complete."""
    set_catalogue(monkeypatch, small_asset(address(server.base)))
    server.breaks = 1
    assert (assets.fetch("small") / "images").read_bytes() == IMAGES
    assert server.asked[:2] == [("images", None), ("images", f"bytes={len(IMAGES) // 2}-")]


def test_broken_download_is_resumed_later(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed fetch keeps the received part, and the next fetch resumes there."""
    set_catalogue(monkeypatch, small_asset(address(server.base)))
    server.breaks = download.ATTEMPTS
    with pytest.raises(AssetError, match="broke off after"):
        assets.fetch("small")
    server.asked.clear()
    assets.fetch("small")
    assert server.asked[0] == ("images", f"bytes={len(IMAGES) * 7 // 8}-")


def test_changed_file_is_not_mixed(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file changed between two attempts, the second one starts over instead of joining parts of two files."""
    server.breaks = 1
    server.files["images"] = bytes(len(IMAGES))
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(download.SourceError, match="broke off"):
        download.download(f"{server.base}images", world / "images")
    server.files["images"], server.tag = IMAGES, '"two"'
    download.download(f"{server.base}images", world / "images")
    assert (world / "images").read_bytes() == IMAGES


def test_dead_address_costs_seconds(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that never answers is abandoned after the connection timeout, and the next source is used."""
    with socket.socket() as dead, socket.socket() as first, socket.socket() as second:
        dead.bind(("127.0.0.1", 0))
        dead.listen(0)  # once its queue is full, the system leaves further connections without an answer
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(dead.getsockname())
        set_catalogue(
            monkeypatch, small_asset(address(f"http://127.0.0.1:{dead.getsockname()[1]}/"), address(server.base))
        )
        assert download.CONNECT_SECONDS <= 5
        monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
        start = time.monotonic()
        assets.fetch("small")
        assert 0.4 < time.monotonic() - start < 3


def test_hanging_look_up_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer causes no longer delay than an address that does not."""

    def hang(*_: object, **__: object) -> None:
        time.sleep(2.5)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(download.SourceError, match=r"does not answer within 0\.2 s"):
        download.download("http://example.invalid/file", Path("unused"))
    assert time.monotonic() - start < 2
