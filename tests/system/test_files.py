"""Untrusted files: anything but a regular file of a sensible size is refused at once, with one sentence."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vqbench import registry
from vqbench.assets import content, forms
from vqbench.errors import AssetError, UsageError
from vqbench.planning import yamlfile
from vqbench.system import files

ZEROS = bytes(3_000_000)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**42)


UNFIT: list[Callable[[Path], None]] = [pipe, device, sparse]


@pytest.mark.parametrize("make", UNFIT)
def test_no_reader_waits_or_fills_the_memory(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Pipes, devices and files that are larger than any memory are refused by every reader, without being read."""
    path = tmp_path / "file.py"
    make(path)
    for read in (files.read_regular, files.open_regular):
        with pytest.raises(OSError, match=r"a named pipe|a device|4,398,046\.5 MB, more than the 5\.0 MB"):
            read(path, 5 * files.MB)
    with pytest.raises(UsageError, match=r"(cannot be read|no such Python file)"):
        registry.add_file(path)
    with pytest.raises(UsageError, match=r"file\.py: (cannot be read|is larger)"):
        yamlfile.read(path)
    for form in (forms.as_it_is, forms.read_npz, forms.read_idx, forms.read_cifar10_pickle, forms.read_cifar10_archive):
        with pytest.raises(OSError, match=r"not a regular file|more than the"):
            list(form(path))


def test_what_grows_beyond_its_limit_is_refused(tmp_path: Path) -> None:
    """A regular file is read whole up to its limit, to the byte, and not beyond."""
    (tmp_path / "file").write_bytes(b"12345")
    assert files.read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="more than"):
        files.read_regular(tmp_path / "file", 4)


def test_bombs_are_unpacked_to_their_limit_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of gzip, zip, npz and tar, as much is unpacked as may be, whatever their heads say."""
    assert files.gunzip(gzip.compress(ZEROS) * 2, 6_000_000) == ZEROS * 2
    with pytest.raises(OSError, match=r"unpacks to more than 1\.0 MB"):
        files.gunzip(gzip.compress(ZEROS), 1_000_000)
    packed = io.BytesIO()
    np.savez_compressed(packed, a=np.zeros(3_000_000, np.uint8))
    with pytest.raises(OSError, match=r"unpacks to 3\.0 MB"):
        files.load_npz(packed, 1_000_000)
    lying = packed.getvalue().replace((3_000_128).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    with pytest.raises(OSError, match=r"damaged|more than"):
        files.load_npz(io.BytesIO(lying), 1_000_000)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("test_batch.bin")
        entry.size = len(ZEROS)
        tar.addfile(entry, io.BytesIO(ZEROS))
    monkeypatch.setattr(files.Limited.__init__, "__defaults__", (1_000_000,))
    with pytest.raises(OSError, match=r"unpacks to more than 1\.0 MB"):
        list(forms.read_cifar10_archive(tmp_path / "cifar-10-binary.tar.gz"))


def test_an_npz_holds_arrays_of_numbers(tmp_path: Path) -> None:
    """Arrays come back whole from files packed or not, in either order of axes; objects and false shapes do not."""
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "f": np.asfortranarray(np.eye(3)), "s": np.float64(2.5)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        for name, value in content.load_npz(tmp_path / "x.npz").items():
            np.testing.assert_array_equal(value, arrays[name])
            assert value.dtype == arrays[name].dtype
    np.savez(tmp_path / "x.npz", o=np.array([{}], object))
    with pytest.raises(OSError, match="values of the type object"):
        content.load_npz(tmp_path / "x.npz")
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", head.getvalue() + bytes(8))
    with pytest.raises(OSError, match="8 bytes for a shape of"):
        content.load_npz(tmp_path / "x.npz")


def test_an_idx_file_that_lies_is_one_sentence() -> None:
    """A header that does not fit what follows is an AssetError, not an error of torch."""
    from vqbench.images import idx_images

    head = b"".join(number.to_bytes(4, "big") for number in (0x803, 2, 3, 4))
    assert idx_images(head + bytes(24)).shape == (2, 1, 3, 4)
    for damaged in (b"", head, head + bytes(23), b"\1" + head[1:] + bytes(24)):
        with pytest.raises(AssetError, match="not a whole idx3 file"):
            idx_images(damaged)
