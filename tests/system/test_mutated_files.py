"""Files with a random change: each ends in a good read or in the one error of its kind, within bounds of memory."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support import odd_images
from tests.support.script_archive import script_archive
from tests.support.soak import examples
from vqbench.assets import array_pickles, forms, image_file, image_scan, lmdb_file, safe_pickle, torch_archives
from vqbench.datasets import _index
from vqbench.errors import AssetError
from vqbench.images import idx_images
from vqbench.system import files

MEMORY = 64 * files.MB  # of Python's and numpy's; the files have some kilobytes

NUMBERS = [0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` with one change: a bit, a number, a piece cut out, doubled, or the end gone."""
    place = draw(st.integers(0, len(whole) - 1))
    kind = draw(st.sampled_from(["bit", "number", "cut", "double", "truncate", "insert"]))
    if kind == "bit":
        return whole[:place] + bytes([whole[place] ^ 1 << draw(st.integers(0, 7))]) + whole[place + 1 :]
    if kind == "number":
        size, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["little", "big"]))
        number = draw(st.sampled_from(NUMBERS)) % 2 ** (8 * size)
        return whole[:place] + number.to_bytes(size, order) + whole[place + size :]  # type: ignore[arg-type]
    length = draw(st.integers(1, 64))
    if kind == "cut":
        return whole[:place] + whole[place + length :]
    if kind == "double":
        return whole[: place + length] + whole[place:]
    if kind == "insert":
        return whole[:place] + draw(st.binary(min_size=1, max_size=16)) + whole[place:]
    return whole[:place]


def ends_well(read: Callable[[], object], errors: tuple[type[Exception], ...]) -> str:
    """The message where ``read`` raises one of ``errors``, empty where it gives something; it takes little memory."""
    message = ""
    tracemalloc.start()
    try:
        read()
    except errors as error:
        message = str(getattr(error, "strerror", None) or error) or "nothing"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY
    assert message != "nothing"
    return message


# Images ---------------------------------------------------------------------------------------------------------------


@cache
def images() -> dict[str, bytes]:
    """Small images of all kinds."""
    small = {name: data for name, data in odd_images.odd().items() if len(data) < 20_000}
    icon = odd_images.saved(odd_images.plain(), "ICO", sizes=[(16, 16)])
    return {**small, "x.ico": icon, "x.tga": odd_images.saved(odd_images.plain(), "TGA", compression="tga_rle")}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@examples()
@given(st.data())
def test_mutated_images(data: st.DataObject) -> None:
    """Any change of any kind of image decodes to RGB, or is half a sentence why not."""
    whole = images()[data.draw(st.sampled_from(sorted(images())))]
    changed = data.draw(mutated(whole))

    def read() -> None:
        decoded = image_file.examined(changed)
        assert decoded.image.mode == "RGB"
        assert image_file.fit(decoded.image, 8).shape == (3, 8, 8)

    assert len(ends_well(read, (image_file.Unreadable,))) <= 200


# Assets ---------------------------------------------------------------------------------------------------------------

IDX = b"".join(number.to_bytes(4, "big") for number in (0x803, 3, 4, 5)) + bytes(range(60))


@examples()
@given(mutated(IDX), mutated(gzip.compress(IDX, mtime=0)))
def test_mutated_idx(plain: bytes, packed: bytes) -> None:
    """Of idx files, plain or gzipped."""
    ends_well(lambda: idx_images(plain), (AssetError,))
    ends_well(lambda: files.gunzip(packed, 10_000), (OSError,))


def batch(protocol: int) -> bytes:
    """A small pickled batch of CIFAR10."""
    return pickle.dumps({b"labels": [1, 2, 3], b"data": np.arange(30, dtype=np.uint8).reshape(3, 10)}, protocol)


@examples()
@given(st.integers(0, pickle.HIGHEST_PROTOCOL).flatmap(lambda protocol: mutated(batch(protocol))))
def test_mutated_pickles(data: bytes) -> None:
    """Of pickles of every protocol: no memory is taken on their word, and no array is made but of their own bytes."""
    ends_well(lambda: array_pickles.load_arrays(io.BytesIO(data)), (pickle.UnpicklingError,))


@cache
def checkpoint() -> bytes:
    """What torch.save writes of a small state dict."""
    import torch

    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2, dtype=torch.int64)}}, buffer)
    return buffer.getvalue()


@examples()
@given(st.data())
def test_mutated_checkpoints(data: st.DataObject) -> None:
    """Of checkpoints and TorchScript archives, as files and in the pickle within."""
    for load, whole in (
        (torch_archives.load_checkpoint, checkpoint()),
        (torch_archives.load_script_tensors, script_archive((1, (2, 2), (1, 2))).getvalue()),
    ):
        changed = data.draw(mutated(whole))
        ends_well(lambda: load(io.BytesIO(changed)), (pickle.UnpicklingError, zipfile.BadZipFile))  # noqa: B023
        inner = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(inner, "w") as made:
            for entry in archive.infolist():
                content = archive.read(entry)
                made.writestr(entry, data.draw(mutated(content)) if entry.filename.endswith("data.pkl") else content)
        ends_well(lambda: load(inner), (pickle.UnpicklingError, zipfile.BadZipFile))  # noqa: B023


@cache
def npz(packed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, a=np.arange(20.0), b=np.eye(3, dtype=np.float32))
    return buffer.getvalue()


@examples()
@given(st.booleans().flatmap(lambda packed: mutated(npz(packed))))
def test_mutated_npz(data: bytes) -> None:
    """Of npz files, packed or not."""
    ends_well(lambda: files.load_npz(io.BytesIO(data)), (OSError,))


# Containers of images -------------------------------------------------------------------------------------------------


def tar(packed: bool) -> bytes:
    """Three images and a long name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if packed else "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("a.png", "b" * 120 + ".png", "test_batch.bin"):
            data = odd_images.saved(Image.new("RGB", (9, 9), "red"), "PNG")
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def checked(root: Path) -> None:
    """Read and decode every entry of a folder."""
    made = _index._checked(root, image_scan.scan(root), None)
    for position in range(len(made)):
        if position not in made.damaged:
            made.read(position)


@examples()
@given(mutated(tar(False)), mutated(tar(True)))
def test_mutated_tars(tmp_path_factory: pytest.TempPathFactory, plain: bytes, packed: bytes) -> None:
    """Of shards, and of packages of assets."""
    root = tmp_path_factory.getbasetemp() / "mutated-tars"
    (root / "shards").mkdir(parents=True, exist_ok=True)
    (root / "shards" / "a.tar").write_bytes(plain)
    ends_well(lambda: checked(root / "shards"), (AssetError,))
    (root / "x.tar.gz").write_bytes(packed)
    # `fetch` reports whatever it raises; see test_a_broken_asset_is_reported_however_it_fails.
    ends_well(lambda: list(forms.members(root / "x.tar.gz", r".*\.bin")), (Exception,))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small lmdb environment."""
    lmdb = pytest.importorskip("lmdb", reason="needs lmdb, which `pip install -e .[lmdb]` brings, to write one")
    folder = tmp_path_factory.mktemp("lmdb")
    with lmdb.open(str(folder), map_size=2**20) as made, made.begin(write=True) as change:
        for number in range(50):
            data = odd_images.saved(Image.new("RGB", (9, 9), (number, 0, 0)), "PNG")
            change.put(f"{number:040}".encode(), data + bytes(5000 * (number % 25 == 0)))
    return (folder / "data.mdb").read_bytes()


@examples()
@given(st.data())
def test_mutated_lmdb(tmp_path_factory: pytest.TempPathFactory, environment: bytes, data: st.DataObject) -> None:
    """Of lmdb environments, most of all in the heads of their pages."""
    root = tmp_path_factory.getbasetemp() / "mutated-lmdb"
    root.mkdir(exist_ok=True)
    page = data.draw(st.integers(0, len(environment) // 4096 - 1)) * 4096
    start, end = (page, page + 200) if data.draw(st.booleans()) else (page, len(environment))
    changed = environment[:start] + data.draw(mutated(environment[start:end])) + environment[end:]
    (root / lmdb_file.FILE).write_bytes(changed)
    ends_well(lambda: checked(root), (AssetError,))


# Named ones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [
        b"cnumpy\nndarray\n((I1\ntcnumpy\ndtype\n(S'O'\ntRS'AAAAAAAA'\ntR.",  # bytes as the address of an object
        b"cnumpy\nndarray\n((I1\ntS'f8'\ntR.",  # memory as it was left
        b"cnumpy\ndtype\n(S'f8'\nI00\nI01\ntR(I3\nS'<'\nNNNI8\nI8\nI63\ntb.",  # numbers with the flags of objects
        b"cnumpy\ndtype\n(S'V8'\ntR.",
        b"cnumpy\ndtype\n(S'f8'\ntR(I3\nS'<'\nN(S'a'\nt}I8\nI8\nI0\ntb.",  # fields
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O'\ntRS'AAAAAAAA'\ntR.",
        b"c_codecs\nencode\nN}S'__code__'\nNs\x86b.",  # sets what a function of ours runs
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",  # a bytearray of a terabyte
        b"K\1q\0" + b"(h\0h\0tq\0" * 22 + b"}(h\0Nu.",  # a key that, a little deeper, takes ages to hash
        b"(lp0\n" + b"(h\0h\0lp0\n" * 60 + b".",  # lists of lists that unfold for ever
        b"]q\0h\0a.",  # a list within itself
        b"N" * 20_000 + b".",
    ],
)
def test_a_pickle_chooses_no_pointer_size_or_time(program: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way in which a few bytes crashed the process, took memory on their word, or ran for ever, is refused."""
    monkeypatch.setattr(safe_pickle, "MAX_STEPS", 10_000)
    assert ends_well(lambda: array_pickles.load_arrays(io.BytesIO(program)), (pickle.UnpicklingError,))


def test_a_memo_is_no_larger_than_what_is_in_it() -> None:
    """A place of billions in a pickle's memo takes no memory for those before it."""
    ends_well(lambda: array_pickles.load_arrays(io.BytesIO(b"Nr\xff\xff\xff\x7f.")), ())


def test_packed_tensors_unfold_within_bounds() -> None:
    """A view of one number as billions, and a packed storage, are refused before memory is taken."""
    whole = script_archive((1, (2, 2), (1, 2)))
    for view in ((0, (2**15, 2**15), (0, 0)), (0, (2**30,), (1,)), (5, (2,), (1,))):
        with pytest.raises(pickle.UnpicklingError, match=r"larger than the file|beyond its storage"):
            torch_archives.load_script_tensors(script_archive(view))
    bomb = io.BytesIO()
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("net/data.pkl", archive.read("net/data.pkl"))
        made.writestr("net/data/0", bytes(20_000_000))
    assert ends_well(lambda: torch_archives.load_script_tensors(bomb), (pickle.UnpicklingError,))


def test_a_broken_asset_is_reported_however_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickle that crashed `doctor` is skipped by it, and reported by its users."""
    from vqbench import assets
    from vqbench.assets import cache as ledger

    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path))
    monkeypatch.setattr(ledger, "_remembered", {})
    crash = b"(dS'labels'\ncnumpy\nndarray\n((I1\ntS'O'\nS'AAAAAAAA'\ntRs."
    (tmp_path / "data_batch_1").write_bytes(crash)
    os.mkfifo(tmp_path / "data_batch_2")
    assert assets.state("cifar10") == "missing"
    with pytest.raises(AssetError, match=r"data_batch_1 cannot be read \(it makes an array of its own choosing"):
        assets.fetch("cifar10", offline=True)
