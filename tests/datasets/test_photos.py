"""Folders of photographs: found, split, named by their content; damaged and odd files; other containers."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from tests.support import odd_images
from vqbench import registry
from vqbench.dataset import Dataset
from vqbench.datasets import _decode, _index
from vqbench.datasets.ffhq import Ffhq
from vqbench.datasets.imagenet import Imagenet
from vqbench.datasets.lsun import Lsun
from vqbench.datasets.photos import Photos
from vqbench.errors import AssetError, UsageError

SIZE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no folder of data."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    return tmp_path / "cache"


def noise(number: int, size: int = 24) -> bytes:
    """A PNG that no other number has."""
    levels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return odd_images.saved(Image.fromarray(levels), "PNG")


def fill(folder: Path, names: list[str], first: int = 0) -> None:
    """Write the images ``first``, ``first`` + 1, ... under ``names``."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(noise(first + number))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 training and 5 test images."""
    root = tmp_path / "photos"
    fill(root, [f"train/{number:02}.png" for number in range(12)])
    fill(root, [f"val/{number:02}.png" for number in range(5)], first=100)
    return root


def photos(folder: Path, **args: object) -> Photos:
    return Photos(folder=str(folder), size=SIZE, **args)  # type: ignore[arg-type]


def pixels(dataset: Dataset, split: str) -> torch.Tensor:
    return dataset.pixels(split)[:]  # type: ignore[arg-type]


# Damaged and odd files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", odd_images.damaged())
def test_damaged_file_is_known_with_a_reason(name: str) -> None:
    """Each kind of damaged file is refused by a short reason, never by a crash, a hang or half an image."""
    data, reason = odd_images.damaged()[name]
    with pytest.raises(_decode.Unreadable, match=f"(?i){reason}"):
        _decode.decode(data)


@pytest.mark.parametrize("name", odd_images.odd())
def test_odd_file_is_read_right(name: str) -> None:
    """Each kind of odd file shows what it shows: its colours (or their grey), upright, its first frame."""
    image = _decode.decode(odd_images.odd()[name])
    assert (image.mode, image.size) == ("RGB", (60, 40))
    got = np.asarray(image).astype(int)
    colours = odd_images.scene().astype(int)
    grey = np.asarray(odd_images.plain().convert("L")).astype(int)[..., None]
    wanted = grey if ("grey" in name) else colours
    loose = 51 if "palette" in name or name.endswith(".gif") else 6  # a palette has few colours
    exact = name.endswith((".ppm", ".bmp", "alpha.png", "16-bit-colour.png", "named-wrongly.jpg", "animated.webp"))
    assert abs(got - wanted).max() <= (0 if exact else loose), name
    assert abs(got - wanted).mean() < 20


def test_what_is_transparent_lies_on_white() -> None:
    """Half transparent black is grey, wholly transparent black white; the hidden colour does not show."""
    levels = np.zeros((8, 8, 4), np.uint8)
    levels[:4, :, 3] = 128
    got = np.asarray(_decode.decode(odd_images.saved(Image.fromarray(levels), "PNG")))
    assert set(got[4:].flatten()) == {255}
    assert set(got[:4].flatten()) == {127}


def test_truncated_files_stay_damaged_whatever_a_plugin_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's switch that fills up half an image with grey is none for us."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(_decode.Unreadable, match="truncated"):
        _decode.decode(odd_images.damaged()["end-missing.jpg"][0])


def test_a_strip_is_cut_before_it_is_resized() -> None:
    """An image of one row does not unfold to a giant, an image of one pixel fills the square."""
    strip = Image.fromarray(odd_images.scene(1, 2_000))
    assert _decode._shortened(strip).size == (16, 1)
    assert np.array_equal(np.asarray(_decode._shortened(strip))[0], odd_images.scene(1, 2_000)[0, 992:1008])
    assert _decode._shortened(strip.resize((2, 400))).size == (2, 32)
    assert _decode.fit(strip, 64).shape == (3, 64, 64)
    assert _decode.fit(Image.new("RGB", (1, 1), (1, 2, 3)), 8).reshape(3, -1).tolist() == [[1] * 64, [2] * 64, [3] * 64]


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (33, 33), (16, 47)])
def test_the_shorter_side_is_resized_then_the_centre_cut(height: int, width: int) -> None:
    """Pixels are those of Pillow's bicubic filter on the whole image, cut in the middle, to the bit."""
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))
    scale = SIZE / min(height, width)
    resized = np.asarray(image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC))
    top, left = round((resized.shape[0] - SIZE) / 2), round((resized.shape[1] - SIZE) / 2)
    wanted = resized[top : top + SIZE, left : left + SIZE].transpose(2, 0, 1)
    assert np.array_equal(_decode.fit(image, SIZE), wanted)


def test_damaged_files_are_refused_by_name(folder: Path) -> None:
    """By default a damaged file stops the work before it begins, and the sentence names files, counts and reasons."""
    for name, (data, _) in odd_images.damaged().items():
        (folder / "train" / name).write_bytes(data)
    with pytest.raises(AssetError) as error:
        photos(folder)
    said = str(error.value)
    assert "20 of 32 training images cannot be used" in said
    assert "beyond-16-bits.tif (levels from 1000000 to 1000000, beyond 16 bits)" in said
    assert "and 15 more" in said
    assert "damaged: skip" in said


def test_damaged_files_are_left_out_and_told(folder: Path) -> None:
    """Skipped files change nothing in the others, and a note tells how many of how many there were, in each split."""
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
    """Where nothing is left of a split, that is said at once."""
    for path in (folder / "val").iterdir():
        path.write_bytes(b"")
    with pytest.raises(AssetError, match="the test split has no image that can be used, only 5 damaged"):
        photos(folder, damaged="skip")


def test_other_files_are_passed_over(folder: Path) -> None:
    """Texts, hidden files and what a Mac leaves behind are neither images nor damaged ones."""
    for name in ("train/README.md", "val/labels.csv", "train/.DS_Store", "train/._00.png", ".cache/x.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image")
    assert photos(folder).counts == {"train": 12, "test": 5}


# Named by content ----------------------------------------------------------------------------------------------------


def canonical_args(**args: object) -> dict[str, object]:
    return dict(registry.resolve("datasets", "photos", {"size": SIZE, **args}).args)


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


def test_a_file_changed_under_its_name_never_passes(folder: Path) -> None:
    """An image overwritten in place, which no listing shows, is noticed when it is read, with what to do."""
    dataset = photos(folder)
    (folder / "train" / "05.png").write_bytes(noise(999))
    again = photos(folder)  # by the index that was kept
    for each in (dataset, again):
        with pytest.raises(AssetError, match=r"05\.png: its content has changed since .* start `vqbench run` anew"):
            pixels(each, "train")


def test_content_that_is_asked_for_must_be_there(folder: Path) -> None:
    """A suite that pins a content gets it or a sentence that names both."""
    known = canonical_args(folder=str(folder))["content"]
    assert canonical_args(folder=str(folder), content=known)["content"] == known
    with pytest.raises(AssetError, match=f"no folder of the content 00ff .* only .* {known}"):
        canonical_args(folder=str(folder), content="00ff")


def test_moved_images_are_found_in_the_folder_of_data(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on where its images lie under VQBENCH_DATA, and says so plainly where they are gone."""
    args = canonical_args(folder=str(folder))
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path / "data"))
    folder.rename(tmp_path / "moved")
    with pytest.raises(AssetError, match=f"no folder of the content {args['content']} is on this machine"):
        Photos(**args)  # type: ignore[arg-type]
    (tmp_path / "data").mkdir()
    (tmp_path / "moved").rename(tmp_path / "data" / "photos")
    assert Photos(**args).content == args["content"]  # type: ignore[arg-type]


def test_digest_of_a_split_knows_its_size(folder: Path) -> None:
    """What is kept of the originals for metrics is never shared between sizes or splits."""
    digests = {Photos(folder=str(folder), size=size).digest(split) for size in (16, 32) for split in ("train", "test")}  # type: ignore[arg-type]
    assert len(digests) == 4
    assert photos(folder).digest("test") in digests


def test_every_file_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look at a folder decodes nothing; a look after a file was added decodes that file alone."""
    count = 0
    examined = _decode.examined

    def counted(data: bytes) -> _decode.Decoded:
        nonlocal count
        count += 1
        return examined(data)

    monkeypatch.setattr(_index._decode, "examined", counted)
    photos(folder)
    assert count == 17
    photos(folder)
    assert count == 17
    (folder / "val" / "new.png").write_bytes(noise(77))
    assert photos(folder).counts["test"] == 6
    assert count == 18


def test_an_index_that_cannot_be_read_is_made_anew(folder: Path, cache: Path) -> None:
    """A cut-off index in the cache costs time and nothing else."""
    wanted = photos(folder).content
    for path in (cache / "images").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert photos(folder).content == wanted


# Layouts -------------------------------------------------------------------------------------------------------------


def test_a_folder_without_splits_is_split_by_digest(tmp_path: Path) -> None:
    """One in ten is for testing; a copy of a file is in the same split; adding images moves none."""
    fill(tmp_path / "flat", [f"{number % 7}/{number:03}.png" for number in range(200)])
    (tmp_path / "flat" / "copy.png").write_bytes(noise(3))
    dataset = photos(tmp_path / "flat")
    assert dataset.counts["train"] + dataset.counts["test"] == 201
    assert 8 <= dataset.counts["test"] <= 35

    def split(dataset: Photos) -> dict[bytes, str]:
        assert dataset.parts is not None
        return {
            dataset.parts[name].index.digests[place].tobytes(): name  # type: ignore[index]
            for name in ("train", "test")
            for place in dataset.parts[name].positions  # type: ignore[index]
        }

    before = split(dataset)
    assert len(before) == 200
    fill(tmp_path / "flat", [f"+first/{number}.png" for number in range(53)], first=1000)
    assert split(photos(tmp_path / "flat")).items() >= before.items()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train/a.png"], "has train/ but none of test/, val/"),
        (["val/a.png"], "has val/ but no train/"),
        ([], "no image"),
    ],
)
def test_a_folder_that_lacks_something_is_one_sentence(tmp_path: Path, names: list[str], sentence: str) -> None:
    """Half a layout, and an empty folder, are told as what they are."""
    (tmp_path / "half").mkdir()
    fill(tmp_path / "half", names)
    with pytest.raises(AssetError, match=sentence):
        photos(tmp_path / "half")


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """A mistyped folder, and a data set that nobody has, say where they were looked for."""
    with pytest.raises(AssetError, match="nowhere: no such folder"):
        photos(tmp_path / "nowhere")
    for cls in (Ffhq, Imagenet, Lsun):
        absent = cls(size=SIZE)
        assert absent.content is None
        assert absent.counts["train"] > 1000
        with pytest.raises(AssetError, match=f"{absent.title} is not on this machine: name its folder .*VQBENCH_DATA"):
            absent.pixels("train")
    with pytest.raises(UsageError, match="size of 8 or more"):
        Photos(size=4)


def tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_tar_shards_are_the_same_data_set(folder: Path, tmp_path: Path) -> None:
    """Shards as webdataset has them, beside labels, are read like the folder and are named like it."""
    for split, first, count in (("train", 0, 12), ("val", 100, 5)):
        for shard in range(2):
            numbers = range(shard * 6, min(count, shard * 6 + 6))
            members = {f"{number:06}.png": noise(first + number) for number in numbers}
            labels = {f"{number:06}.cls": b"3" for number in numbers}
            tar(tmp_path / "shards" / f"set-{split}-{shard:03}.tar", members | labels)
    shards = photos(tmp_path / "shards")
    assert shards.content == photos(folder).content
    assert torch.equal(pixels(shards, "train"), pixels(photos(folder), "train"))
    (tmp_path / "shards" / "set-train-000.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(AssetError, match=r"set-train-000\.tar: not a whole tar archive"):
        photos(tmp_path / "shards")


def test_ffhq_is_split_by_number(tmp_path: Path) -> None:
    """Flat or in buckets, numbers below 60000 train and the others test, in their order; what lacks is told."""
    numbers = [59999, 60000, 7, 69999, 1000]
    for number in numbers:
        for name in (f"flat/{number:05}.png", f"buckets/{number // 1000 * 1000:05}/{number:05}.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(noise(number))
    flat, buckets = (Ffhq(folder=str(tmp_path / name), size=24) for name in ("flat", "buckets"))
    for split, wanted in (("train", [7, 1000, 59999]), ("test", [60000, 69999])):
        originals = [np.asarray(Image.open(io.BytesIO(noise(number)))).transpose(2, 0, 1) for number in wanted]
        assert np.array_equal(pixels(flat, split).numpy(), np.stack(originals))
    assert flat.content == buckets.content
    assert flat.notes[0] == "FFHQ: 3 training images are used, of 60,000."
    (tmp_path / "flat" / "me.png").write_bytes(noise(1))
    with pytest.raises(AssetError, match=r"me\.png is not named by a number"):
        Ffhq(folder=str(tmp_path / "flat"))


def test_imagenet_is_the_same_by_synset_or_flat(tmp_path: Path) -> None:
    """val/ in synset folders and flat are one data set, in the order of the files' own names."""
    for number in range(6):
        train = f"train/n0{number % 2}/n0{number % 2}_{number}.JPEG"
        val = f"ILSVRC2012_val_{number:08}.JPEG"
        layouts = {"synsets": [train, f"val/n0{number % 2}/{val}"], "flat": [train, f"val/{val}"]}
        layouts["inner"] = [f"ILSVRC/Data/CLS-LOC/{name}" for name in layouts["flat"]]
        for layout, names in layouts.items():
            for place, name in enumerate(names):
                (tmp_path / layout / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / layout / name).write_bytes(noise(number + 100 * place))
    made = [Imagenet(folder=str(tmp_path / layout), size=24) for layout in ("synsets", "flat", "inner")]
    assert len({each.content for each in made}) == 1
    wanted = np.asarray(Image.open(io.BytesIO(noise(101)))).transpose(2, 0, 1)
    assert np.array_equal(pixels(made[0], "test")[1].numpy(), wanted)
    with pytest.raises(AssetError, match="there is no train/ in it"):
        Imagenet(folder=str(tmp_path / "flat" / "val"))


def test_lsun_by_folder_or_lmdb(tmp_path: Path) -> None:
    """Folders and the published lmdb environments are one data set; what lacks is told with all names."""
    lmdb = pytest.importorskip("lmdb")
    for split, first, count in (("train", 0, 5), ("val", 100, 3)):
        names = {f"{number:040x}": noise(first + number) for number in range(count)}
        for name, data in names.items():
            path = tmp_path / "folders" / "church" / split / f"{name}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (tmp_path / "published").mkdir(exist_ok=True)
        with (
            lmdb.open(str(tmp_path / "published" / f"church_{split}_lmdb")) as environment,
            environment.begin(write=True) as change,
        ):
            for name, data in names.items():
                change.put(name.encode(), data)
    one, two = (Lsun(category="church", folder=str(tmp_path / name), size=24) for name in ("folders", "published"))
    assert one.content == two.content
    assert one.title == "LSUN church"
    assert torch.equal(pixels(one, "train"), pixels(two, "train"))
    with pytest.raises(AssetError, match="none of cat_train_lmdb, cat_train, cat/train in it"):
        Lsun(category="cat", folder=str(tmp_path / "folders"))


def test_photographs_of_scikit_image(cache: Path) -> None:
    """Without a folder there are crops of shipped photographs, known by the same content on every machine."""
    args = canonical_args()
    assert args["content"] == "6b01f7cfbb36e052bb1e8cdd797d2c21"
    dataset = Photos(**args)  # type: ignore[arg-type]
    assert dataset.counts == {"train": 285, "test": 33}
    assert pixels(dataset, "test").shape == (33, 3, SIZE, SIZE)
    assert pixels(dataset, "train").float().std() > 40


def test_naming_photographs_needs_no_torch() -> None:
    """A table of a suite on a folder must not wait for torch."""
    import subprocess
    import sys

    code = (
        "import sys; from vqbench import registry; "
        "registry.resolve('datasets', 'photos', {'size': 16}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
