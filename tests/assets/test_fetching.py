"""Assets are fetched, verified and stored once, and every failure says what to do."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.asset_server import IMAGES, LABELS, AssetServer, address, set_catalogue, small_asset
from vqbench import assets
from vqbench.assets import download, sources
from vqbench.assets.catalogue import Asset
from vqbench.assets.origins import Origins
from vqbench.errors import AssetError, UsageError

ROOT = Path(__file__).resolve().parents[2]


def test_fetch_verifies_stores_and_tidies(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty cache: missing, then cached; progress ends at 100 %; the download itself is removed."""
    set_catalogue(monkeypatch, small_asset(address(server.base)))
    progress: list[tuple[int, int | None]] = []
    assert assets.state("small") == "missing"
    folder = assets.fetch("small", progress=lambda done, total: progress.append((done, total)))
    assert assets.state("small") == "cached"
    assert (folder / "images").read_bytes() == IMAGES
    assert assets.raw("small", "labels") == LABELS
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    assert progress[-1] == (len(IMAGES) + len(LABELS),) * 2
    assert not list((world / "cache" / "incoming").iterdir())
    assert len(server.asked) == 2  # and not again for state and raw


def test_wrong_content_is_refused(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source with other content is reported with file and both digests, and nothing of it reaches the cache."""
    asset = small_asset(address(server.base))
    set_catalogue(monkeypatch, asset)
    server.files["labels"] = b"wrong"
    with pytest.raises(AssetError) as caught:
        assets.fetch("small")
    for part in ("labels", hashlib.md5(b"wrong").hexdigest(), asset.digests["labels"], server.base):
        assert part in str(caught.value)
    assert not (world / "cache" / "small").exists()
    assert not list((world / "cache" / "incoming").iterdir())


def test_next_source_is_tried(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an empty source and a wrong one, a later source is still used."""
    with AssetServer() as wrong:
        wrong.files = {"images": b"wrong", "labels": LABELS}
        threading.Thread(target=wrong.serve_forever, args=(0.01,), daemon=True).start()
        nowhere = sources.Address(1, f"{server.base}nowhere/", ("images", "labels"))
        set_catalogue(monkeypatch, small_asset(nowhere, address(wrong.base), address(server.base)))
        assert (assets.fetch("small") / "images").read_bytes() == IMAGES
        wrong.shutdown()


def test_two_processes_download_once(world: Path, server: AssetServer) -> None:
    """If two processes need the same asset at once, one downloads it for both."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import asset_server as t; from vqbench import assets\n"
        "from vqbench.assets import fetching\n"
        "fetching.CATALOGUE = {'small': t.small_asset(t.address(sys.argv[1]))}\n"
        "print((assets.fetch('small') / 'labels').read_bytes() == t.LABELS)"
    )
    server.delay = 0.3
    command = [sys.executable, "-c", code, server.base, str(ROOT / "tests" / "support")]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["True", "True"]
    assert sorted(server.asked) == [("images", None), ("labels", None)]


def test_one_download_serves_siblings(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two assets in one package are stored together, with a single download."""
    one = small_asset(address(server.base))
    two = Asset(
        "two", "Two", "CC0", "md5", {"labels": one.digests["labels"]}, lambda: Origins(one.forms[1:], one.sources)
    )
    set_catalogue(monkeypatch, one, two)
    assets.fetch("small")
    assert assets.state("two") == "cached"
    assert assets.raw("two", "labels", offline=True) == LABELS


def test_unknown_names_are_usage_errors(world: Path) -> None:
    """A wrong name of an asset or file is an error with the nearest valid name of the same kind."""
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        assets.fetch("cifar-10")
    with pytest.raises(UsageError, match=r"did you mean 'test_batch\.bin'"):
        assets.raw("cifar10", "test_batch")
    with pytest.raises(UsageError, match="is a data set, not weights"):
        assets.tensors("mnist")
    with pytest.raises(UsageError, match="is weights, not a data set"):
        assets.raw("vgg16_lpips", "vgg16_lpips.npz")


@pytest.mark.parametrize("way", ["argument", "variable", "block"])
def test_offline_tries_no_source(way: str, world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, no source is tried and nothing is written, and the error says what to do."""
    set_catalogue(monkeypatch, small_asset(address(server.base)))
    if way == "variable":
        monkeypatch.setenv("VQBENCH_OFFLINE", "1")
    with pytest.raises(AssetError) as caught, assets.no_downloads(way == "block"), assets.no_downloads(False):
        assets.fetch("small", offline=way == "argument")
    for part in ("cannot get Small", "offline", server.base, "VQBENCH_DATA", str(world / "cache")):
        assert part in str(caught.value)
    assert server.asked == []
    assert not (world / "cache").exists()


def test_every_source_that_failed_is_named(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all sources fail, the error names each source with its reason, in one line."""
    refused = socket.socket()
    refused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
    closed = f"http://127.0.0.1:{refused.getsockname()[1]}/"
    set_catalogue(monkeypatch, small_asset(address(closed), address(f"{server.base}nowhere/")))
    with pytest.raises(AssetError) as caught:
        assets.fetch("small")
    refused.close()
    assert f"{closed}: 127.0.0.1 cannot be reached (Connection refused)" in str(caught.value)
    assert f"{server.base}nowhere/: it answers 404" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_full_disk_is_one_sentence(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk during a download is reported as such, with the space to free."""
    set_catalogue(monkeypatch, small_asset(address(server.base)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(AssetError, match=r"the disk of the cache .* is full: free about \d+ MB"):
        assets.fetch("small")
