"""Folders of images that are not what they seem: rewritten, of other kinds, deep, hostile; lmdb that is cut."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import odd_images
from tests.support.tiny_suite import vqbench
from vqbench import registry
from vqbench.datasets import _decode, _index, _lmdb, _scan
from vqbench.datasets.ffhq import Ffhq
from vqbench.datasets.lsun import Lsun
from vqbench.datasets.photos import Photos
from vqbench.errors import AssetError, UsageError
from vqbench.planning import loading, plan_file
from vqbench.planning.plan import Plan
from vqbench.store.results import ResultStore

SIZE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no folder of data."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    return tmp_path / "cache"


def noise(number: int) -> bytes:
    """A PPM file that no other number has, all of one size."""
    levels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return odd_images.saved(Image.fromarray(levels), "PPM")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 training and 5 test images."""
    for split, count in (("train", 12), ("test", 5)):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "photos" / split / f"{number:02}.ppm").write_bytes(noise(number + 100 * (split == "test")))
    return tmp_path / "photos"


def photos(folder: Path, **args: Any) -> Photos:
    return Photos(folder=str(folder), size=SIZE, **args)


def refused(folder: Path, **args: Any) -> str:
    """The sentence by which a folder is refused."""
    with pytest.raises(AssetError) as error:
        photos(folder, **args)
    assert len(str(error.value)) < 900
    return str(error.value)


# Rewritten in place ---------------------------------------------------------------------------------------------------

TEXT = """
name: rewritten
train: {clean: {epochs: 1, batch_size: 4}}
measure: [clean]
datasets: [{photos: {size: 16}}]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 16, dim: 8}
quantizers: [{vq: {}}]
metrics: [l1]
"""


def rewrite(path: Path, data: bytes, keep_time: bool = False) -> None:
    """Give a file another content under its name, which no folder's time shows."""
    before = path.stat()
    with path.open("r+b") as file:
        file.truncate()
        file.write(data)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_run_sees_images_that_were_rewritten_in_place(folder: Path, tmp_path: Path, keep_time: bool) -> None:
    """With the content of an image, `run` resolves other runs, even where size and time of change are as they were;
    `plan`, which compares folders' times alone, keeps to what it knew until then."""
    suite, store = tmp_path / "suite.yaml", ResultStore(tmp_path / "runs")
    suite.write_text(f"{TEXT}data: {folder}\n")
    made = loading.load(suite, [store], refresh=True)
    plan_file.save(made, store)

    def keys(refresh: bool) -> list[str]:
        return [run.key for run in loading.load(suite, [store], refresh=refresh).runs()]

    before = keys(True)
    rewrite(folder / "test" / "03.ppm", noise(999), keep_time)
    assert keys(False) == before
    after = keys(True)
    assert after != before
    assert keys(False) == after
    rewrite(folder / "test" / "03.ppm", noise(103), keep_time)
    assert keys(True) == before


def test_run_asks_for_every_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command `run` looks file by file, `table` and `status` do not."""
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"{TEXT}data: {folder}\n")
    asked: list[bool] = []

    def load(*args: Any) -> Plan:
        asked.append(args[-1])
        raise UsageError("as far as this goes")

    monkeypatch.setattr(loading, "load", load)
    for command in ("run", "table", "status", "plan"):
        assert vqbench(command, suite, "--store", tmp_path / "runs") == 2
    assert asked == [True, False, False, False]


def test_an_image_damaged_in_place_stops_the_next_run(folder: Path, tmp_path: Path) -> None:
    """Half an image under the name of a whole one is told by `run`, and its mending is seen at once by all."""
    suite, store = tmp_path / "suite.yaml", ResultStore(tmp_path / "runs")
    suite.write_text(f"{TEXT}data: {folder}\n")
    made = loading.load(suite, [store])
    plan_file.save(made, store)
    rewrite(folder / "train" / "05.ppm", noise(5)[:100])
    with pytest.raises(AssetError, match=r"1 of 12 training images cannot be used: 05\.ppm"):
        loading.load(suite, [store], refresh=True)
    assert loading.load(suite, [store]).runs() == made.runs()  # a table still shows what was measured
    rewrite(folder / "train" / "05.ppm", noise(5))
    assert photos(folder).content == made.runs()[0].dataset.args["content"]


def test_a_touched_file_is_not_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new time over an old content costs a reading, no decoding, and changes no key."""
    before = photos(folder).content
    os.utime(folder / "train" / "05.ppm", ns=(1, 1))
    monkeypatch.setattr(_decode, "examined", None)
    registry.refresh("photos", {"folder": str(folder), "size": SIZE})
    assert photos(folder).content == before


# Passed over ----------------------------------------------------------------------------------------------------------


def test_files_that_are_passed_over_are_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of kinds that are not read, and archives, are counted by suffix below every table; texts are not."""
    for number in range(100):
        (folder / "train" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    for name in ("more.zip", "x.tar.gz", "labels.txt", "README", ".hidden.zip", "0001"):
        (folder / "test" / name).write_bytes(b"")
    note = photos(folder).notes[0]
    assert "100 .heic, 1 without a suffix, 1 .tar.gz, 1 .zip; convert or unpack" in note
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"{TEXT}data: {folder}\n")
    assert vqbench("table", suite, "--store", tmp_path / "runs") == 0
    assert "100 .heic" in capsys.readouterr().out
    assert vqbench("prepare", suite, "--store", tmp_path / "runs") == 0
    assert "100 .heic" in capsys.readouterr().out


def test_a_kept_plan_learns_what_is_passed_over_since(folder: Path, tmp_path: Path) -> None:
    """Files that came after a plan was resolved are named, though they change no key."""
    suite, store = tmp_path / "suite.yaml", ResultStore(tmp_path / "runs")
    suite.write_text(f"{TEXT}data: {folder}\n")
    made = loading.load(suite, [store])
    plan_file.save(made, store)
    (folder / "train" / "new.heic").write_bytes(b"")
    again = loading.load(suite, [store])
    assert "1 .heic" in again.datasets["photos"].notes[0]
    assert [run.key for run in again.runs()] == [run.key for run in made.runs()]


def test_a_folder_of_archives_says_so(tmp_path: Path) -> None:
    """Where nothing can be read, what there is instead is named."""
    for split in ("train", "test"):
        (tmp_path / "zipped" / split).mkdir(parents=True)
        (tmp_path / "zipped" / split / "images.zip").write_bytes(b"")
    assert "passed over: 2 .zip, of which none is read; convert or unpack them" in refused(tmp_path / "zipped")
    with pytest.raises(AssetError, match=r"there is no image in it, only 1 \.zip"):
        Ffhq(folder=str(tmp_path / "zipped" / "train"))


# Deep images ----------------------------------------------------------------------------------------------------------


def deep(folder: Path, top: int, dtype: str = "uint16", kind: str = "PNG") -> None:
    """20 grey images of levels up to ``top``, half of them less bright."""
    for split, count in (("train", 15), ("test", 5)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            ramp = np.tile(np.linspace(0, top // (1 + number % 2), 24 + number).round().astype(dtype), (20, 1))
            name = f"{dtype}-{top}-{number:02}.{'png' if kind == 'PNG' else 'tif'}"
            (folder / split / name).write_bytes(odd_images.saved(Image.fromarray(ramp), kind))


@pytest.mark.parametrize(
    ("top", "dtype", "kind", "bits"),
    [
        (4080, "uint16", "PNG", 12),
        (255, "int32", "TIFF", 8),
        (1000, "uint16", "TIFF", 10),
        (16383, "uint16", "PNG", 14),
    ],
)
def test_deep_images_are_as_bright_as_they_are_meant(
    tmp_path: Path, top: int, dtype: str, kind: str, bits: int
) -> None:
    """Levels of 12 bits in 16, and of 8 in 32, are refused with the bits to set, with which they are white."""
    deep(tmp_path / "deep", top, dtype, kind)
    said = refused(tmp_path / "deep")
    assert f"up to {top}" in said
    assert f"set `bits: {bits}`" in said
    dataset = photos(tmp_path / "deep", bits=bits)
    assert int(dataset.pixels("train")[:].max()) >= 230
    assert photos(tmp_path / "deep", bits=16).pixels("train")[:].max() <= 64
    assert dataset.digest("test") != photos(tmp_path / "deep", bits=16).digest("test")


def test_bits_of_16_are_none_of_the_arguments_that_name_a_run(folder: Path, tmp_path: Path) -> None:
    """An argument that came later names a run only where it changes pixels; a named run opens what it was made of."""
    args = {"folder": str(folder), "size": SIZE}
    before = registry.resolve("datasets", "photos", args).args
    assert "bits" not in before
    assert registry.resolve("datasets", "photos", {**args, "bits": 16}).args == before
    assert registry.resolve("datasets", "photos", {**args, "bits": 12}).args == {**before, "bits": 12}
    deep(tmp_path / "deep", 4080)
    named = registry.resolve("datasets", "photos", {"folder": str(tmp_path / "deep"), "size": SIZE, "bits": 16}).args
    assert Photos(**named).counts["test"] == 5  # type: ignore[arg-type]


def test_wrong_bits_are_one_sentence(tmp_path: Path) -> None:
    """Bits that levels go beyond, or that nobody has, are refused; kinds that differ within a folder are named."""
    deep(tmp_path / "deep", 4080)
    assert "up to 4080" in refused(tmp_path / "deep", bits=10)
    with pytest.raises(UsageError, match="give bits from 8 to 16"):
        photos(tmp_path / "deep", bits=17)
    deep(tmp_path / "deep", 255, "int32", "TIFF")
    assert "20 images hold levels" in photos(tmp_path / "deep", bits=12).notes[-1]
    deep(tmp_path / "deep", 65535)
    assert "so would be near black" in refused(tmp_path / "deep")


def test_dark_colours_of_16_bits_are_refused(tmp_path: Path) -> None:
    """Of 16 bits a colour Pillow keeps the upper 8: 12 bits in them would be black, and cannot be set right."""
    for split, count in (("train", 15), ("test", 5)):
        (tmp_path / "deep" / split).mkdir(parents=True)
        for number in range(count):
            levels = np.full((20, 24 + number, 3), 4000, ">u2")
            rows = b"".join(b"\0" + row.tobytes() for row in levels)
            (tmp_path / "deep" / split / f"{number}.png").write_bytes(
                odd_images._png(24 + number, 20, 16, 2, zlib.compress(rows))
            )
    assert "convert them to 8 bits" in refused(tmp_path / "deep")
    assert "convert them to 8 bits" in refused(tmp_path / "deep", bits=12)
    assert photos(tmp_path / "deep", bits=16).counts["train"] == 15


def test_siblings_of_deep_images_are_read_right() -> None:
    """One bit, palettes with alpha, a transparent grey of 16 bits, orientation in TIFF, and MPO show what they show."""
    one = Image.fromarray(odd_images.scene()[..., 0] > 100)
    assert set(np.unique(np.asarray(_decode.decode(odd_images.saved(one, "TIFF"))))) == {0, 255}
    clear = Image.fromarray(np.zeros((8, 8), np.uint8)).convert("P")
    white = np.asarray(_decode.decode(odd_images.saved(clear, "PNG", transparency=b"\0")))
    assert set(white.flatten()) == {255}
    levels = np.full((8, 8), 65535, np.uint16)
    levels[:4] = 700
    grey = odd_images.saved(Image.fromarray(levels), "PNG", transparency=700)
    assert set(np.asarray(_decode.decode(grey)).flatten()) == {255}
    turned = Image.Exif()
    turned[0x0112] = 6
    tiff = odd_images.saved(odd_images.plain().transpose(Image.Transpose.ROTATE_90), "TIFF", exif=turned)
    assert np.array_equal(np.asarray(_decode.decode(tiff)), odd_images.scene())
    frames = {"save_all": True, "append_images": [Image.new("RGB", (60, 40))]}
    mpo = _decode.decode(odd_images.saved(odd_images.plain(), "MPO", quality=95, **frames))
    assert abs(np.asarray(mpo).astype(int) - odd_images.scene()).max() <= 6


# Hostile --------------------------------------------------------------------------------------------------------------


def test_no_format_starts_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript under an image's name is refused by what it is, before anything is started for it."""
    import subprocess

    monkeypatch.setattr(subprocess, "check_call", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    eps = odd_images.saved(Image.new("RGB", (8, 8)), "EPS")
    with pytest.raises(_decode.Unreadable, match="PostScript, which is not opened"):
        _decode.decode(eps)
    with pytest.raises(_decode.Unreadable, match="not an image"):
        _decode.decode(b"# XPM\n" + eps)


def test_what_is_no_regular_file_is_damaged(folder: Path) -> None:
    """Pipes, devices, links to nowhere and sparse files under images' names are named, and the rest is used."""
    wanted = photos(folder).content
    os.mkfifo(folder / "train" / "pipe.png")
    (folder / "train" / "device.png").symlink_to("/dev/zero")
    (folder / "train" / "link.png").symlink_to("nowhere")
    (folder / "train" / "round.png").symlink_to("round.png")
    with (folder / "train" / "sparse.png").open("wb") as file:
        file.truncate(2**42)
    said = refused(folder)
    for part in ("a named pipe", "a device", "No such file", "symbolic links", "more than the 268.4 MB"):
        assert part in said
    assert photos(folder, damaged="skip").content == wanted


def test_names_that_are_no_text_are_kept(folder: Path) -> None:
    """A damaged image, a sound one and a folder whose names are not UTF-8 are told from others, and found again."""
    root = Path(os.fsdecode(os.fsencode(folder) + b"\xe9"))
    folder.rename(root)
    Path(os.fsdecode(os.fsencode(root) + b"/train/kaputt\xe9.ppm")).write_bytes(b"no image")
    Path(os.fsdecode(os.fsencode(root) + b"/train/ganz\xe9.ppm")).write_bytes(noise(77))
    assert "kaputt\udce9.ppm (not an image" in refused(root)
    for _ in range(2):  # checked, then kept
        dataset = photos(root, damaged="skip")
        assert dataset.counts["train"] == 13
        assert dataset.pixels("train")[:].shape[0] == 13
    named = registry.resolve("datasets", "photos", {"folder": str(root), "size": SIZE, "damaged": "skip"}).args
    assert Photos(**named).content == dataset.content  # type: ignore[arg-type]


def test_an_image_in_an_archive_in_a_folder_called_like_one(tmp_path: Path, folder: Path) -> None:
    """A folder whose name ends like an archive's is a folder."""
    import tarfile

    for split in ("train", "test"):
        (tmp_path / "odd.tar" / split).mkdir(parents=True)
        with tarfile.open(tmp_path / "odd.tar" / split / "a.tar", "w") as tar:
            for path in sorted((folder / split).iterdir()):
                tar.add(path, path.name)
    dataset = photos(tmp_path / "odd.tar")
    assert dataset.content == photos(folder).content
    index = _index.index(tmp_path)
    assert not index.damaged
    assert len(index) == 34


def test_a_tar_of_a_negative_size_ends(tmp_path: Path) -> None:
    """A member whose size leads back to itself is one sentence, not a reading for ever."""
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("x.png"))
        tar.addfile(tarfile.TarInfo("y.png"))
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[124:136] = b"\xff" * 10 + (-512).to_bytes(2, "big", signed=True)
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(AssetError, match="not a whole tar archive"):
        _scan.scan(tmp_path)


# lmdb -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An lmdb environment of 300 values, short and long, of which some were deleted again."""
    lmdb = pytest.importorskip("lmdb", reason="needs lmdb, which `pip install -e .[lmdb]` brings, to write one")
    with lmdb.open(str(tmp_path / "lmdb"), map_size=2**24) as made:
        with made.begin(write=True) as change:
            for number in range(300):
                change.put(f"{number:040x}".encode(), noise(number) * (1 + number % 4))
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
    assert [(key, data[place : place + size]) for key, size, place in _lmdb.entries(environment)] == wanted
    entries = _scan.scan(environment).entries
    assert [_scan.content(environment, each.name, each.size, each.offset) for each in entries] == [
        value for _, value in wanted
    ]


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.1, 0.5, 0.9, 0.97])
def test_lmdb_that_is_cut_off_is_one_sentence(environment: Path, share: float) -> None:
    """Half a download ends no process by a signal: the file says how long it should be."""
    path = environment / "data.mdb"
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(AssetError, match=r"data\.mdb: not a whole lmdb environment .*; fetch it again"):
        _scan.scan(environment)
    with pytest.raises(AssetError):
        Lsun(folder=str(environment.parent))


def test_lmdb_that_leads_round_ends(environment: Path) -> None:
    """A branch that leads back to itself is told, not followed."""
    path = environment / "data.mdb"
    data = bytearray(path.read_bytes())
    tree = _lmdb._Tree(path.open("rb"))
    place = tree.root * tree.page
    (node,) = struct.unpack_from("<H", data, place + 16)
    data[place + node : place + node + 6] = tree.root.to_bytes(6, "little")
    path.write_bytes(data)
    with pytest.raises(AssetError, match="is reached twice"):
        _scan.scan(environment)
