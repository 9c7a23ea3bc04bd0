"""Folders of photographs: damaged, skipped and deep files; keys by content."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import odd_images
from tests.support.image_folders import (
    SIZE,
    TEXT,
    canonical_args,
    deep,
    fill,
    noise,
    photos,
    pixels,
    refused,
)
from tests.support.tiny_suite import vqbench
from vqbench import registry
from vqbench.datasets.ffhq import Ffhq
from vqbench.datasets.imagenet import Imagenet
from vqbench.datasets.lsun import Lsun
from vqbench.datasets.photos import Photos
from vqbench.errors import AssetError, UsageError
from vqbench.planning import loading, plan_file
from vqbench.store.results import ResultStore

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


def test_damaged_files_are_refused_by_name(folder: Path) -> None:
    """By default a damaged file is an error before any work; the sentence names files, counts and reasons."""
    for name, (data, _) in odd_images.damaged().items():
        (folder / "train" / name).write_bytes(data)
    with pytest.raises(AssetError) as error:
        photos(folder)
    said = str(error.value)
    assert "20 of 32 training images cannot be used" in said
    assert "beyond-16-bits.tif (levels from 1000000 to 1000000, beyond 16 bits)" in said
    assert "and 15 more" in said
    assert "damaged: skip" in said


def test_damaged_files_are_left_out_and_noted(folder: Path) -> None:
    """Skipped files change nothing in the others, and a note for each split states how many of how many."""
    clean = photos(folder)
    wanted = pixels(clean, "train")
    for name, (data, _) in odd_images.damaged().items():
        (folder / "train" / name).write_bytes(data)
    (folder / "val" / "03b.jpg").write_bytes(b"")
    dataset = photos(folder, damaged="skip")
    assert dataset.counts == {"train": 12, "test": 5}
    assert torch.equal(pixels(dataset, "train"), wanted)
    train, test = dataset.notes
    assert "20 of 32 training images cannot be used and are left out" in train
    assert "1 of 6 test images cannot be used and are left out: 03b.jpg (empty)." in test
    assert dataset.content == clean.content


def test_a_split_without_a_sound_image_is_one_sentence(folder: Path) -> None:
    """A split without any usable image is reported at once."""
    for path in (folder / "val").iterdir():
        path.write_bytes(b"")
    with pytest.raises(AssetError, match="the test split has no image that can be used, only 5 damaged"):
        photos(folder, damaged="skip")


def test_other_files_are_skipped(folder: Path) -> None:
    """Texts, hidden files and what a Mac leaves behind are neither images nor damaged ones."""
    for name in ("train/README.md", "val/labels.csv", "train/.DS_Store", "train/._00.png", ".cache/x.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image")
    assert photos(folder).counts == {"train": 12, "test": 5}


def test_a_run_is_named_by_content_and_finds_it_again(folder: Path, tmp_path: Path) -> None:
    """Two folders of equal images give equal arguments, none of which is a path, and these make the data set."""
    fill(tmp_path / "copy", [f"train/a/{number:02}.png" for number in range(12)])
    fill(tmp_path / "copy", [f"test/{number:02}.png" for number in range(5)], first=100)
    first, second = canonical_args(folder=str(folder)), canonical_args(folder=str(tmp_path / "copy"))
    assert first == second
    assert first["folder"] is None
    assert str(tmp_path) not in json.dumps(first)
    again = Photos(**first)  # type: ignore[arg-type]
    assert torch.equal(pixels(again, "test"), pixels(photos(folder), "test"))
    assert canonical_args(**{key: value for key, value in first.items() if key != "size"}) == first


@pytest.mark.parametrize("change", ["add", "remove", "alter", "swap", "move"])
def test_any_change_of_the_images_is_another_run(folder: Path, change: str) -> None:
    """Adding, removing, altering, exchanging images, or moving one between the splits, changes the name of a run."""
    before = canonical_args(folder=str(folder))["content"]
    first, second = folder / "train" / "00.png", folder / "train" / "01.png"
    if change == "add":
        (folder / "train" / "99.png").write_bytes(noise(999))
    elif change == "remove":
        first.unlink()
    elif change == "alter":
        first.unlink()
        first.write_bytes(noise(999))
    elif change == "swap":
        kept = first.read_bytes()
        first.unlink()
        second.rename(first)
        second.write_bytes(kept)
    else:
        first.rename(folder / "val" / "99.png")
    assert canonical_args(folder=str(folder))["content"] != before


def test_pinned_content_must_exist(folder: Path) -> None:
    """A suite that pins a content gets this content, or a sentence that names both."""
    known = canonical_args(folder=str(folder))["content"]
    assert canonical_args(folder=str(folder), content=known)["content"] == known
    with pytest.raises(AssetError, match=f"no folder of the content 00ff .* only .* {known}"):
        canonical_args(folder=str(folder), content="00ff")


def test_moved_images_are_found_in_the_folder_of_data(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run resumes where its images are below VQBENCH_DATA; missing images are an error."""
    args = canonical_args(folder=str(folder))
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path / "data"))
    folder.rename(tmp_path / "moved")
    with pytest.raises(AssetError, match=f"no folder of the content {args['content']} is on this machine"):
        Photos(**args)  # type: ignore[arg-type]
    (tmp_path / "data").mkdir()
    (tmp_path / "moved").rename(tmp_path / "data" / "photos")
    assert Photos(**args).content == args["content"]  # type: ignore[arg-type]


def test_digest_of_a_split_depends_on_its_size(folder: Path) -> None:
    """Cached features of originals are never shared between sizes or splits."""
    digests = {Photos(folder=str(folder), size=size).digest(split) for size in (16, 32) for split in ("train", "test")}  # type: ignore[arg-type]
    assert len(digests) == 4
    assert photos(folder).digest("test") in digests


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """A mistyped folder, and a missing data set, are errors that list the places searched."""
    with pytest.raises(AssetError, match="nowhere: no such folder"):
        photos(tmp_path / "nowhere")
    for cls in (Ffhq, Imagenet, Lsun):
        absent = cls(size=SIZE)
        assert absent.content is None
        assert absent.counts["train"] > 1000
        with pytest.raises(
            AssetError, match=f"{absent.title} is not on this machine: set the argument `folder`.*VQBENCH_DATA"
        ):
            absent.pixels("train")
    with pytest.raises(UsageError, match="size of 8 or more"):
        Photos(size=4)


def test_naming_photographs_needs_no_torch() -> None:
    """A table of a suite on a folder imports no torch."""
    import subprocess
    import sys

    code = (
        "import sys; from vqbench import registry; "
        "registry.resolve('datasets', 'photos', {'size': 16}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_that_are_skipped_are_named(ppm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of kinds that are not read, and archives, are counted by suffix below every table; texts are not."""
    for number in range(100):
        (ppm_folder / "train" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    for name in ("more.zip", "x.tar.gz", "labels.txt", "README", ".hidden.zip", "0001"):
        (ppm_folder / "test" / name).write_bytes(b"")
    note = photos(ppm_folder).notes[0]
    assert "100 .heic, 1 without a suffix, 1 .tar.gz, 1 .zip; convert or unpack" in note
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"{TEXT}data: {ppm_folder}\n")
    (tmp_path / "runs").mkdir()
    assert vqbench("table", suite, "--store", tmp_path / "runs") == 0
    assert "100 .heic" in capsys.readouterr().out
    assert vqbench("prepare", suite, "--store", tmp_path / "runs") == 0
    assert "100 .heic" in capsys.readouterr().out


def test_a_cached_plan_names_files_that_are_skipped_since(ppm_folder: Path, tmp_path: Path) -> None:
    """Files that came after a plan was resolved are named, though they change no key."""
    suite, store = tmp_path / "suite.yaml", ResultStore(tmp_path / "runs")
    suite.write_text(f"{TEXT}data: {ppm_folder}\n")
    made = loading.load(suite, [store])
    plan_file.save(made, store)
    (ppm_folder / "train" / "new.heic").write_bytes(b"")
    again = loading.load(suite, [store])
    assert "1 .heic" in again.datasets["photos"].notes[0]
    assert [run.key for run in again.runs()] == [run.key for run in made.runs()]


def test_a_folder_of_archives_says_so(tmp_path: Path) -> None:
    """If nothing can be read, the error names what the folder contains instead."""
    for split in ("train", "test"):
        (tmp_path / "zipped" / split).mkdir(parents=True)
        (tmp_path / "zipped" / split / "images.zip").write_bytes(b"")
    assert "skipped: 2 .zip, which are not read; convert or unpack them" in refused(tmp_path / "zipped")
    with pytest.raises(AssetError, match=r"it contains no image, only 1 \.zip"):
        Ffhq(folder=str(tmp_path / "zipped" / "train"))


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


def test_bits_of_16_are_none_of_the_arguments_that_name_a_run(ppm_folder: Path, tmp_path: Path) -> None:
    """An argument added later is part of the key only if it changes pixels; an older run opens its own images."""
    args = {"folder": str(ppm_folder), "size": SIZE}
    before = registry.resolve("datasets", "photos", args).args
    assert "bits" not in before
    assert registry.resolve("datasets", "photos", {**args, "bits": 16}).args == before
    assert registry.resolve("datasets", "photos", {**args, "bits": 12}).args == {**before, "bits": 12}
    deep(tmp_path / "deep", 4080)
    named = registry.resolve("datasets", "photos", {"folder": str(tmp_path / "deep"), "size": SIZE, "bits": 16}).args
    assert Photos(**named).counts["test"] == 5  # type: ignore[arg-type]


def test_wrong_bits_are_one_sentence(tmp_path: Path) -> None:
    """Bits that levels exceed, or outside of 8 to 16, are refused; kinds that differ within a folder are named."""
    deep(tmp_path / "deep", 4080)
    assert "up to 4080" in refused(tmp_path / "deep", bits=10)
    with pytest.raises(UsageError, match="give bits from 8 to 16"):
        photos(tmp_path / "deep", bits=17)
    deep(tmp_path / "deep", 255, "int32", "TIFF")
    assert "20 images have levels" in photos(tmp_path / "deep", bits=12).notes[-1]
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
