"""Image files are decoded right, or refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.support import odd_images
from tests.support.image_folders import (
    SIZE,
)
from vqbench.assets import image_file

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


@pytest.mark.parametrize("name", odd_images.damaged())
def test_damaged_file_is_known_with_a_reason(name: str) -> None:
    """Each kind of damaged file is refused by a short reason, never by a crash, a hang or half an image."""
    data, reason = odd_images.damaged()[name]
    with pytest.raises(image_file.Unreadable, match=f"(?i){reason}"):
        image_file.decode(data)


@pytest.mark.parametrize("name", odd_images.odd())
def test_odd_file_is_read_right(name: str) -> None:
    """Each kind of odd file is decoded as viewers show it: colours (or their grey), upright, the first frame."""
    image = image_file.decode(odd_images.odd()[name])
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
    got = np.asarray(image_file.decode(odd_images.saved(Image.fromarray(levels), "PNG")))
    assert set(got[4:].flatten()) == {255}
    assert set(got[:4].flatten()) == {127}


def test_truncated_files_stay_damaged_whatever_a_plugin_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's switch for truncated images, which fills them up with grey, has no effect."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(image_file.Unreadable, match="truncated"):
        image_file.decode(odd_images.damaged()["end-missing.jpg"][0])


def test_a_strip_is_cut_before_it_is_resized() -> None:
    """An image of one row is not enlarged to a huge one; an image of one pixel fills the square."""
    strip = Image.fromarray(odd_images.scene(1, 2_000))
    assert image_file._shortened(strip).size == (16, 1)
    assert np.array_equal(np.asarray(image_file._shortened(strip))[0], odd_images.scene(1, 2_000)[0, 992:1008])
    assert image_file._shortened(strip.resize((2, 400))).size == (2, 32)
    assert image_file.fit(strip, 64).shape == (3, 64, 64)
    assert image_file.fit(Image.new("RGB", (1, 1), (1, 2, 3)), 8).reshape(3, -1).tolist() == [
        [1] * 64,
        [2] * 64,
        [3] * 64,
    ]


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (33, 33), (16, 47)])
def test_the_shorter_side_is_resized_then_the_centre_cut(height: int, width: int) -> None:
    """Pixels are those of Pillow's bicubic filter on the whole image, cut in the middle, to the bit."""
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))
    scale = SIZE / min(height, width)
    resized = np.asarray(image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC))
    top, left = round((resized.shape[0] - SIZE) / 2), round((resized.shape[1] - SIZE) / 2)
    wanted = resized[top : top + SIZE, left : left + SIZE].transpose(2, 0, 1)
    assert np.array_equal(image_file.fit(image, SIZE), wanted)


def test_siblings_of_deep_images_are_read_right() -> None:
    """One bit, palettes with alpha, a transparent grey of 16 bits, orientation in TIFF, and MPO show what they show."""
    one = Image.fromarray(odd_images.scene()[..., 0] > 100)
    assert set(np.unique(np.asarray(image_file.decode(odd_images.saved(one, "TIFF"))))) == {0, 255}
    clear = Image.fromarray(np.zeros((8, 8), np.uint8)).convert("P")
    white = np.asarray(image_file.decode(odd_images.saved(clear, "PNG", transparency=b"\0")))
    assert set(white.flatten()) == {255}
    levels = np.full((8, 8), 65535, np.uint16)
    levels[:4] = 700
    grey = odd_images.saved(Image.fromarray(levels), "PNG", transparency=700)
    assert set(np.asarray(image_file.decode(grey)).flatten()) == {255}
    turned = Image.Exif()
    turned[0x0112] = 6
    tiff = odd_images.saved(odd_images.plain().transpose(Image.Transpose.ROTATE_90), "TIFF", exif=turned)
    assert np.array_equal(np.asarray(image_file.decode(tiff)), odd_images.scene())
    frames = {"save_all": True, "append_images": [Image.new("RGB", (60, 40))]}
    mpo = image_file.decode(odd_images.saved(odd_images.plain(), "MPO", quality=95, **frames))
    assert abs(np.asarray(mpo).astype(int) - odd_images.scene()).max() <= 6


def test_no_format_starts_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript with the name of an image is refused by its content, before any program is started for it."""
    import subprocess

    monkeypatch.setattr(subprocess, "check_call", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    eps = odd_images.saved(Image.new("RGB", (8, 8)), "EPS")
    with pytest.raises(image_file.Unreadable, match="PostScript, which is not opened"):
        image_file.decode(eps)
    with pytest.raises(image_file.Unreadable, match="not an image"):
        image_file.decode(b"# XPM\n" + eps)
