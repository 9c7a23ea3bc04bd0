"""An asset of two files, and a server of them on this machine."""

from __future__ import annotations

import hashlib
import http.server
import time
from types import MappingProxyType

import pytest

from vqbench.assets import fetching, forms, sources
from vqbench.assets.catalogue import Asset
from vqbench.assets.forms import Form
from vqbench.assets.origins import Origins

IMAGES = bytes(range(256)) * 4096  # 1 MiB
LABELS = b"0123456789" * 100


class AssetServer(http.server.ThreadingHTTPServer):
    """Serves ``files``; breaks off the first ``breaks`` answers after half of what it should send."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AssetHandler)
        self.files = {"images": IMAGES, "labels": LABELS}
        self.breaks = 0
        self.delay = 0.0
        self.tag = '"one"'
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.base = f"http://127.0.0.1:{self.server_port}/"


class AssetHandler(http.server.BaseHTTPRequestHandler):
    """Answers GET with or without a range, and honours If-Range."""

    server: AssetServer

    def do_GET(self) -> None:
        """Send a file or what is left of it."""
        name, wanted = self.path[1:], self.headers.get("Range")
        self.server.asked.append((name, wanted))
        time.sleep(self.server.delay)
        if name not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[name]
        start = 0
        if wanted and self.headers.get("If-Range") == self.server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        left = data[start:]
        if self.server.breaks:
            self.server.breaks -= 1
            left = left[: len(left) // 2]
        self.wfile.write(left)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def small_asset(*places: sources.AssetSource) -> Asset:
    """An asset of two files."""
    return Asset(
        name="small",
        title="Small",
        licence="CC0",
        algorithm="md5",
        digests={"images": hashlib.md5(IMAGES).hexdigest(), "labels": hashlib.md5(LABELS).hexdigest()},
        origins=lambda: Origins((Form("images", forms.as_it_is), Form("labels", forms.as_it_is)), places),
    )


def address(base: str) -> sources.Address:
    """Both files of the small asset below ``base``."""
    return sources.Address(len(IMAGES) + len(LABELS), base, ("images", "labels"))


def know(monkeypatch: pytest.MonkeyPatch, *known: Asset) -> None:
    """Let the catalogue be ``known``."""
    monkeypatch.setattr(fetching, "CATALOGUE", MappingProxyType({asset.name: asset for asset in known}))
