"""Inputs that do not fit: each is refused with one sentence that says what to do."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqbench
from tests.measuring.conftest import COUNT, levels_of, photographs, write_pairs
from vqbench import registry
from vqbench.errors import LONGEST, UsageError, VqbenchError

Pairs = tuple[Path, Path]


@pytest.fixture
def own(tmp_path: Path) -> Pairs:
    """Eight pairs that a test may change."""
    return write_pairs(tmp_path, count=8)


def refused(*paths: Path, **options: object) -> str:
    """The sentence by which inputs are refused."""
    with pytest.raises(VqbenchError) as error:
        vqbench.evaluate(*paths, **options)  # type: ignore[arg-type]
    assert len(str(error.value)) < LONGEST + 200
    assert "\n" not in str(error.value)
    assert not re.search(r"[.!?]\s+[A-Z]", str(error.value))  # one sentence
    return str(error.value)


def flat(folder: Path, images: list[np.ndarray], names: list[str]) -> Path:
    """Write images under names."""
    for name, levels in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(folder / name)
    return folder


def test_missing_images_are_named(own: Pairs) -> None:
    """Originals without a reconstruction, and the reverse, are counted and the first five named."""
    for number in range(6):
        (own[1] / f"part{number % 2}" / f"photo.{number}.jpg").unlink()
    shutil.copy(own[1] / "part0/photo.6.jpg", own[1] / "other.jpg")
    sentence = refused(*own)
    assert "8 originals, 3 reconstructions: 6 originals without a partner (part0/photo.0, " in sentence
    assert "and 1 more), 1 reconstruction without a partner (other)" in sentence


def test_no_name_matches(own: Pairs, tmp_path: Path) -> None:
    """Other names altogether are refused with examples; --by-order then pairs them in natural order."""
    images = photographs(12)
    left = flat(tmp_path / "left", images, [f"{number}.png" for number in range(12)])
    right = flat(tmp_path / "right", images, [f"out-{number}.png" for number in range(12)])
    assert "no names match" in refused(left, right)
    found = vqbench.evaluate(left, right, by_order=True)
    assert found["l1"] == 0
    assert "the first pair is 0 with out-0, the last 11 with out-11." in found.table()


def test_one_unicode_form(tmp_path: Path) -> None:
    """A name as macOS writes it matches the same name as others write it."""
    images = photographs(2)
    name = "Zürich.png"
    sides = [flat(tmp_path / form, images, [unicodedata.normalize(form, name), "b.png"]) for form in ("NFC", "NFD")]
    assert vqbench.evaluate(*sides)["l1"] == 0


def test_two_files_of_one_name(own: Pairs) -> None:
    """A name with two suffixes is refused."""
    shutil.copy(own[0] / "part0/photo.0.png", own[0] / "part0/photo.0.bmp")
    assert "have one name but for the suffix" in refused(*own)


def test_hidden_and_other_files_are_counted(own: Pairs) -> None:
    """Hidden files and those of other formats are passed over, and a note counts them."""
    (own[1] / "part0" / "._photo.0.jpg").write_bytes(b"from macOS")
    (own[1] / "photo.heic").write_bytes(b"")
    assert "1 .heic, 1 hidden file." in vqbench.evaluate(*own).table().replace("\n", " ")


def test_sizes_differ(own: Pairs, tmp_path: Path) -> None:
    """Larger originals are refused, with both sizes; --originals-as then makes them fit, by Pillow."""
    large = tmp_path / "large"
    for number, levels in enumerate(photographs(8, side=96)):
        flat(large, [levels], [f"part{number % 2}/photo.{number}.png"])
    sentence = refused(large, own[1])
    assert "part0/photo.0: the original has 96x96 pixels, its reconstruction 64x64; --originals-as" in sentence
    for how, prepared in (
        ("crop:64", lambda image: image.crop((16, 16, 80, 80))),
        ("resize:64:bilinear", lambda image: image.resize((64, 64), Image.Resampling.BILINEAR)),
        ("squash:64", lambda image: image.resize((64, 64), Image.Resampling.BICUBIC)),
    ):
        found = vqbench.evaluate(large, own[1], originals_as=how).per_image
        x = np.asarray(prepared(Image.open(large / "part0/photo.2.png"))) / 255
        y = levels_of(own[1] / "part0/photo.2.jpg") / 255
        row = found[found.name == "part0/photo.2"]
        assert row.l1.item() == pytest.approx(np.abs(x - y).mean(), abs=1e-7)
    for wrong in ("crop", "resize:64:cubic", "crop:64:bicubic", "resize:0", "half:2"):
        assert "--originals-as" in refused(large, own[1], originals_as=wrong)


def test_grey_against_colour(own: Pairs) -> None:
    """A grey original of a colour reconstruction is refused, or measured as three channels."""
    grey = Image.open(own[0] / "part0/photo.0.png").convert("L")
    grey.save(own[0] / "part0/photo.0.png")
    assert "part0/photo.0: the original is grey, its reconstruction has colours; --as-rgb" in refused(*own)
    assert vqbench.evaluate(*own, as_rgb=True)["l1"] > 0


def test_grey_is_grey(tmp_path: Path) -> None:
    """Grey files, also if one side repeats the channel three times, are measured as grey, as arrays of one channel."""
    grey = [levels.mean(2).astype(np.uint8) for levels in photographs(6)]
    other = [(levels // 2) for levels in grey]
    names = [f"{number}.png" for number in range(6)]
    left = flat(tmp_path / "left", grey, names)
    right = flat(tmp_path / "right", [np.stack([each] * 3, 2) for each in other], names)
    expected = vqbench.evaluate(np.stack(grey)[:, None], np.stack(other)[:, None], protocol="official")
    assert vqbench.evaluate(left, right, protocol="official").values.value.tolist() == expected.values.value.tolist()


def test_images_of_several_sizes(tmp_path: Path) -> None:
    """Pairs of several sizes are measured, each at its own."""
    images = [levels[: 64 - 2 * number] for number, levels in enumerate(photographs(6))]
    names = [f"{number}.png" for number in range(6)]
    left = flat(tmp_path / "left", images, names)
    right = flat(tmp_path / "right", [255 - levels for levels in images], names)
    found = vqbench.evaluate(left, right, metrics=["l1"]).per_image.l1
    expected = [np.abs(levels / 255 - (255 - levels) / 255).mean() for levels in images]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_damaged_images(own: Pairs, tmp_path: Path) -> None:
    """A damaged image is refused by name; --skip-damaged leaves out its pair, and a note names it."""
    expected = vqbench.evaluate(*own).per_image.set_index("name").drop("part1/photo.1")
    path = own[1] / "part1/photo.1.jpg"
    path.write_bytes(path.read_bytes()[:400])
    assert "photo.1.jpg: cannot be used" in refused(*own)
    assert "--skip-damaged" in refused(*own)
    found = vqbench.evaluate(*own, skip_damaged=True)
    assert found.values.images.tolist() == [7, 7, 7]
    assert f"1 pair left out, since an image is damaged: {path}" in found.table().replace("\n", " ")
    assert found.about["damaged"].keys() == {str(path)}
    np.testing.assert_array_equal(found.per_image.set_index("name").l1, expected.l1)
    from vqbench.api.measure import measure_files
    from vqbench.measuring.pair_inputs import ReadingOptions

    measure_files(*own, options=ReadingOptions(skip_damaged=True), store=tmp_path / "store")
    with pytest.raises(VqbenchError, match=r"photo\.1\.jpg: cannot be used"):  # what was kept is no way around
        measure_files(*own, store=tmp_path / "store")
    for file in own[1].rglob("*.jpg"):
        file.write_bytes(b"")
    assert "all 8 images are damaged" in refused(*own, skip_damaged=True)


def test_the_same_input_twice(own: Pairs, tmp_path: Path) -> None:
    """One path on both sides, by a link or .. too, is refused; equal content is measured, and its images are named."""
    (tmp_path / "link").symlink_to(own[0])
    for same in (own[0], tmp_path / "link", own[0] / "part0" / ".."):
        assert "are the same" in refused(own[0], same)
    np.save(tmp_path / "a.npy", np.zeros((4, 3, 32, 32), np.uint8))
    os.link(tmp_path / "a.npy", tmp_path / "b.npy")  # one file of two names
    assert "are the same" in refused(tmp_path / "a.npy", tmp_path / "b.npy")
    for file in own[0].rglob("*.png"):
        if "photo.3" in file.name:
            (own[1] / "part1/photo.3.jpg").unlink()
            shutil.copy(file, own[1] / "part1/photo.3.png")
    found = vqbench.evaluate(*own)
    assert found["psnr"] == np.inf
    assert "PSNR is infinite: 1 image equals its original (part1/photo.3)." in found.table().replace("\n", " ")


def test_too_few_images(own: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image has no rFID; a metric that needs more images than there are is marked as not ranked."""
    one = [flat(tmp_path / side, photographs(1), ["0.png"]) for side in ("left", "right")]
    assert "rFID needs at least 2 images, and was given 1" in refused(*one, metrics=["rfid"])
    monkeypatch.setattr(registry.load("metrics", "psnr"), "few", 2_048)
    found = vqbench.evaluate(*own, metrics=["l1", "psnr"])
    assert "PSNR is not ranked: it needs at least 2,048 images, here 8." in found.table()
    assert found.values.note.tolist()[0] == ""


def test_no_images(own: Pairs, tmp_path: Path) -> None:
    """Missing paths, empty folders and folders of other files are refused."""
    (tmp_path / "empty").mkdir()
    assert "no image is in it" in refused(own[0], tmp_path / "empty")
    (tmp_path / "empty/a.zip").write_bytes(b"")
    assert "only 1 .zip" in refused(own[0], tmp_path / "empty")
    assert "no such file or folder" in refused(own[0], tmp_path / "absent")
    (tmp_path / "a.zip").write_bytes(b"")
    assert "not read; give a folder of images" in refused(own[0], tmp_path / "a.zip")


def test_arrays_that_are_refused(own: Pairs, tmp_path: Path) -> None:
    """Arrays of other shapes, types and ranges, and files that are none, are refused."""
    good = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    np.save(tmp_path / "good.npy", good)

    def against(name: str, array: np.ndarray, **options: object) -> str:
        np.save(tmp_path / name, array)
        return refused(tmp_path / "good.npy", tmp_path / name, **options)

    assert "images are (N, C, H, W) or (N, H, W, C)" in against("shape.npy", good[0])
    assert "give uint8" in against("type.npy", good.astype(np.int64))
    assert "has no image" in against("none.npy", good[:0])
    assert "4 originals in" in against("fewer.npy", good[:3])
    assert "contains NaN" in against("nan.npy", np.where(good > 0.5, np.nan, good))
    sentence = against("range.npy", good * 2 - 1)
    assert "looks like 0..1 (" in sentence
    assert "like -1..1 (" in sentence
    assert "of no usual range" in against("far.npy", good * 1000)
    assert "--range '0-1'" in against("typo.npy", good, range="0-1")
    assert "an array has no names; --by-order" in refused(own[0], tmp_path / "good.npy")
    (tmp_path / "text.npy").write_text("hello")
    assert "not an array of numbers" in refused(tmp_path / "good.npy", tmp_path / "text.npy")
    np.savez(tmp_path / "two.npz", a=good, b=good)
    assert "two.npz: 2 arrays (a, b); choose one with --array" in refused(tmp_path / "good.npy", tmp_path / "two.npz")
    torch.save({"model": print}, tmp_path / "code.pt")
    assert "not an array of numbers" in refused(tmp_path / "good.npy", tmp_path / "code.pt")
    np.save(tmp_path / "levels.npy", np.zeros((4, 3, 32, 32), np.uint8))
    np.save(tmp_path / "others.npy", np.ones((4, 3, 32, 32), np.uint8))
    assert "of float arrays only" in refused(tmp_path / "levels.npy", tmp_path / "others.npy", range="0..1")


def test_tensors_that_are_refused(tmp_path: Path) -> None:
    """Tensors without dense values, of 8-bit floats, and files without a tensor are refused, the file named."""
    good = torch.rand(4, 3, 8, 8)
    np.save(tmp_path / "good.npy", good.numpy())
    quantized = torch.quantize_per_tensor(good, 0.01, 0, torch.quint8)
    for content, sentence in (
        (good.to_sparse(), "a sparse, meta or quantized tensor"),
        (quantized, "a sparse, meta or quantized tensor"),
        (good.to("meta"), "a sparse, meta or quantized tensor"),
        (good.to(torch.float8_e4m3fn), "float8_e4m3fn has too few digits"),
        ({"epoch": 3}, "no array is in it"),
    ):
        torch.save(content, tmp_path / "other.pt")
        found = refused(tmp_path / "good.npy", tmp_path / "other.pt")
        assert sentence in found
        assert "other.pt: " in found
    (tmp_path / "other.pt").write_text("hello")
    assert "not in the format that torch.save writes" in refused(tmp_path / "good.npy", tmp_path / "other.pt")


def test_floats_of_other_machines(tmp_path: Path) -> None:
    """Floats of the other byte order are the same images; longer ones than torch has are refused."""
    good = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    np.save(tmp_path / "a.npy", good)
    np.save(tmp_path / "b.npy", good.astype(good.dtype.newbyteorder()))
    assert vqbench.evaluate(tmp_path / "a.npy", tmp_path / "b.npy", metrics=["l1"])["l1"] == 0
    np.save(tmp_path / "long.npy", good.astype(np.longdouble))
    assert "give uint8 (0 to 255), or floats" in refused(tmp_path / "a.npy", tmp_path / "long.npy")


def test_overshoot_is_clipped_and_counted(tmp_path: Path) -> None:
    """Values just beyond the range are clipped, and a note counts them; a declared range is used as it is."""
    good = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    beyond = good.copy()
    beyond[0, 0, 0, :5] = 1.25
    np.save(tmp_path / "a.npy", good)
    np.save(tmp_path / "b.npy", beyond)
    found = vqbench.evaluate(tmp_path / "a.npy", tmp_path / "b.npy")
    assert "5 values beyond are clipped" in found.table().replace("\n", " ")
    assert found["l1"] == pytest.approx(np.abs(beyond.clip(0, 1) - good).mean(), rel=1e-5)
    halved = vqbench.evaluate(tmp_path / "a.npy", tmp_path / "b.npy", range="-1..1", metrics=["l1"])
    assert halved["l1"] == pytest.approx(found["l1"] / 2, rel=1e-5)
    assert "(declared)" in halved.table()


def test_codes(pairs: Pairs, tmp_path: Path) -> None:
    """Codes of any shape give usage and perplexity; those that do not fit are refused."""
    codes = np.random.default_rng(0).integers(0, 50, (COUNT, 4, 4))
    for name, shaped in (("map", codes), ("tokens", codes.reshape(COUNT, 16)), ("depth", codes[..., None])):
        np.savez(tmp_path / f"{name}.npz", codes=shaped, num_codes=64)
        found = vqbench.evaluate(*pairs, tmp_path / f"{name}.npz", metrics=["usage", "bits"])
        assert found["usage"] == pytest.approx(100 * 50 / 64)
        assert found["bits"] == 16 * 6
    np.save(tmp_path / "codes.npy", codes)
    assert vqbench.evaluate(*pairs, tmp_path / "codes.npy", 64, metrics=["usage"])["usage"] == found["usage"]

    def against(array: np.ndarray, num_codes: int | None = 64) -> str:
        np.save(tmp_path / "wrong.npy", array)
        return refused(*pairs, tmp_path / "wrong.npy", num_codes)  # type: ignore[arg-type]

    assert "give the size of the codebook with --num-codes" in against(codes, None)
    assert "codes run from 0 to 49, but those of 32 are 0 to 31" in against(codes, 32)
    assert "but 24 images" in against(codes[:-1])
    assert "give whole numbers" in against(codes.astype(np.float32))
    assert "codes of shape (384,)" in against(codes.reshape(-1))
    assert "there is no code in it" in against(codes[:, :0])
    assert "--num-codes is 32" in refused(*pairs, tmp_path / "map.npz", 32)  # type: ignore[arg-type]


def test_codes_are_matched_by_name(pairs: Pairs, tmp_path: Path) -> None:
    """Codes that have names belong to the images of these names, whatever their order."""
    names = vqbench.evaluate(*pairs, metrics=["l1"]).per_image.name.tolist()
    codes = np.arange(COUNT)[:, None]
    order = np.random.default_rng(0).permutation(COUNT)
    np.savez(tmp_path / "codes.npz", codes=codes[order], names=np.array(names)[order] + ".png", num_codes=COUNT)
    from vqbench.measuring.pair_inputs import PairInputs

    inputs = PairInputs.open(*pairs, tmp_path / "codes.npz")
    found = inputs.codes_of(range(COUNT))
    assert found is not None
    assert found.flatten().tolist() == list(range(COUNT))
    np.savez(tmp_path / "other.npz", codes=codes, names=np.array(names) + "x", num_codes=COUNT)
    with pytest.raises(UsageError, match="no codes of part0"):
        PairInputs.open(*pairs, tmp_path / "other.npz")
