"""Folders of assets: the user's is used in place, the cache is verified."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asset_server import LABELS, AssetServer, address, set_catalogue, small_asset
from vqbench import assets
from vqbench.assets import cache, content, forms
from vqbench.assets.forms import Form
from vqbench.assets.origins import Origins
from vqbench.errors import AssetError, UsageError


def link_all(source: Path, target: Path) -> None:
    """Put links to the files of ``source`` into ``target``."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).symlink_to(path)


def test_torchvision_layout_is_used_in_place(
    official: dict[str, Path], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With equal file names in two folders, each data set selects its own files by content; nothing is copied."""
    link_all(official["mnist"], world / "data" / "MNIST" / "raw")
    link_all(official["fashion_mnist"], world / "data" / "FashionMNIST" / "raw")
    monkeypatch.setenv("VQBENCH_DATA", str(world / "data"))
    assert assets.fetch("mnist", offline=True) == world / "data" / "MNIST" / "raw"
    assert assets.fetch("fashion_mnist", offline=True) == world / "data" / "FashionMNIST" / "raw"
    assert assets.state("mnist") == assets.state("fashion_mnist") == "local"
    assert not (world / "cache" / "mnist").exists()


def test_gzipped_files_of_the_user_are_converted(
    official: dict[str, Path], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gzipped idx files with dots in their names are recognized, and converted into the cache without a network."""
    (world / "data").mkdir()
    for file in content.IDX_NAMES:
        packed = gzip.compress((official["mnist"] / file).read_bytes(), compresslevel=1)
        (world / "data" / f"{file.replace('-idx', '.idx')}.gz").write_bytes(packed)
    monkeypatch.setenv("VQBENCH_DATA", str(world / "data"))
    assert assets.state("mnist") == "local"
    assert assets.fetch("mnist", offline=True) == world / "cache" / "mnist"
    assert len(assets.raw("mnist", "t10k-labels-idx1-ubyte", offline=True)) == 10_008


def test_wrong_file_of_the_user_is_named_and_kept(
    world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong file of the user's is skipped, named with both digests if no other exists, and never modified."""
    asset = small_asset(address(server.base))
    set_catalogue(monkeypatch, asset)
    (world / "data" / "deep").mkdir(parents=True)
    mine = world / "data" / "deep" / "labels"
    mine.write_bytes(b"mine")
    monkeypatch.setenv("VQBENCH_DATA", str(world / "data"))
    for _ in range(2):  # computed, then remembered
        with pytest.raises(AssetError) as caught:
            assets.fetch("small", offline=True)
        for part in (str(mine), hashlib.md5(b"mine").hexdigest(), asset.digests["labels"]):
            assert part in str(caught.value)
        assert assets.state("small") == "missing"
    assert assets.fetch("small") == world / "cache" / "small"
    assert mine.read_bytes() == b"mine"


def test_broken_cache_is_seen_and_mended(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file in the cache is detected: an error with both digests offline, fetched again online."""
    asset = small_asset(address(server.base))
    set_catalogue(monkeypatch, asset)
    file = assets.fetch("small") / "labels"
    file.write_bytes(LABELS[::-1])
    assert assets.state("small") == "missing"
    with pytest.raises(AssetError) as caught:
        assets.fetch("small", offline=True)
    assert f"{file} has md5 {hashlib.md5(LABELS[::-1]).hexdigest()}, not {asset.digests['labels']}" in str(caught.value)
    assets.fetch("small")
    assert file.read_bytes() == LABELS


def test_verification_is_remembered(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verified file is read again only after it has changed, also by a process that starts later."""
    read: list[Path] = []

    def counting(path: Path) -> Iterator[tuple[str, bytes]]:
        read.append(path)
        yield from forms.as_it_is(path)

    asset = small_asset(address(server.base))
    counted = Origins(tuple(Form(form.pattern, counting) for form in asset.forms), asset.sources)
    set_catalogue(monkeypatch, dataclasses.replace(asset, origins=lambda: counted))
    folder = assets.fetch("small")
    read.clear()
    cache._remembered.clear()  # as in a new process
    assert assets.state("small") == "cached"
    assert read == []
    os.utime(folder / "labels", ns=(1, 1))
    assert assets.state("small") == "cached"
    assert assets.state("small") == "cached"
    assert read == [folder / "labels"]


def test_unwritable_cache_is_one_sentence(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that cannot be created gives one sentence with its path and the variable to set."""
    set_catalogue(monkeypatch, small_asset(address(server.base)))
    (world / "file").write_text("")
    monkeypatch.setenv("VQBENCH_CACHE", str(world / "file" / "cache"))
    with pytest.raises(UsageError, match=r"VQBENCH_CACHE=.*/file/cache: not a usable path .*; give another one"):
        assets.fetch("small")
    assert server.asked == []


def test_read_only_cache_serves(world: Path, server: AssetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filled cache that cannot be written still works, also offline."""
    set_catalogue(monkeypatch, small_asset(address(server.base)))
    folder = assets.fetch("small")
    (world / "cache" / "verified.json").unlink()
    (world / "cache" / "verified.json").mkdir()  # nothing can take this name
    cache._remembered.clear()
    assert assets.fetch("small", offline=True) == folder
    assert sorted(path.name for path in (world / "cache").iterdir()) == [
        "fetching.lock",
        "incoming",
        "small",
        "verified.json",
    ]
