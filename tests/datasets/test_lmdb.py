"""lmdb environments are read without lmdb, and truncated ones refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.support.image_folders import (
    ppm_noise,
)
from vqbench.assets import image_scan, lmdb_file
from vqbench.datasets.lsun import Lsun
from vqbench.errors import AssetError

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An lmdb environment of 300 values, short and long, of which some were deleted again."""
    lmdb = pytest.importorskip("lmdb", reason="needs lmdb, which `pip install -e .[lmdb]` brings, to write one")
    with lmdb.open(str(tmp_path / "lmdb"), map_size=2**24) as made:
        with made.begin(write=True) as change:
            for number in range(300):
                change.put(f"{number:040x}".encode(), ppm_noise(number) * (1 + number % 4))
        with made.begin(write=True) as change:
            for number in range(0, 300, 7):
                change.delete(f"{number:040x}".encode())
    return tmp_path / "lmdb"


def test_lmdb_is_read_as_its_library_reads_it(environment: Path) -> None:
    """Keys, in order, and values are those that the library gives."""
    import lmdb

    with lmdb.open(str(environment), readonly=True, lock=False) as opened, opened.begin() as view:
        wanted = [(bytes(key).decode("latin-1"), bytes(value)) for key, value in view.cursor()]
    data = (environment / "data.mdb").read_bytes()
    assert [(key, data[place : place + size]) for key, size, place in lmdb_file.entries(environment)] == wanted
    entries = image_scan.scan(environment).entries
    assert [image_scan.content(environment, each.name, each.size, each.offset) for each in entries] == [
        value for _, value in wanted
    ]


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.1, 0.5, 0.9, 0.97])
def test_lmdb_that_is_cut_off_is_one_sentence(environment: Path, share: float) -> None:
    """A truncated download is an error, not a crash: the file states its own length."""
    path = environment / "data.mdb"
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(AssetError, match=r"data\.mdb: not a whole lmdb environment .*; fetch it again"):
        image_scan.scan(environment)
    with pytest.raises(AssetError):
        Lsun(folder=str(environment.parent))


def test_lmdb_that_leads_round_ends(environment: Path) -> None:
    """A branch that leads back to itself is an error."""
    path = environment / "data.mdb"
    data = bytearray(path.read_bytes())
    tree = lmdb_file._Tree(path.open("rb"))
    place = tree.root * tree.page
    (node,) = struct.unpack_from("<H", data, place + 16)
    data[place + node : place + node + 6] = tree.root.to_bytes(6, "little")
    path.write_bytes(data)
    with pytest.raises(AssetError, match="is reached twice"):
        image_scan.scan(environment)
