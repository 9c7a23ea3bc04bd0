"""init: a suite for one's own images that runs as it is, or a sentence on what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from tests.support.image_folders import noise
from tests.support.tiny_suite import vqbench
from vqbench.planning.suite_files import load_suite
from vqbench.reporting.suite_schema import schema_path

pytestmark = pytest.mark.integration


def jpegs(folder: Path, count: int = 64, side: int = 100) -> None:
    """Write crops of photographs, each another one, as JPEG."""
    folder.mkdir(parents=True)
    photographs = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    for number in range(count):
        image = photographs[number % 4]
        left, top = 12 * (number // 4), 10 * (number // 4)
        image.crop((left, top, left + side + number % 3, top + side)).save(folder / f"{number:02}.jpg", quality=90)


def test_the_suite_of_64_jpegs_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For 64 JPEGs, a commented suite is written; `run` trains it, and `status` and `table` know its runs."""
    monkeypatch.chdir(tmp_path)
    jpegs(tmp_path / "images")
    assert vqbench("init", "images") == 0
    shown = capsys.readouterr().out
    assert "images: 62 training and 2 test images, shorter side 100 pixels" in shown
    assert "Next: vqbench run my_suite.yaml" in shown
    [minutes] = re.findall(r"about \d+ minutes? on two CPU cores", " ".join(shown.split()))
    assert vqbench("plan", "my_suite.yaml") == 0
    assert minutes in " ".join(capsys.readouterr().out.split())
    suite = load_suite("my_suite.yaml")
    assert [row.quantizer for row in suite.rows()] == ["identity", "vq", "vq_ema", "cvq"]
    assert suite.datasets[0].args["size"] == 64
    schema, *lines = Path("my_suite.yaml").read_text().splitlines()
    assert schema == f"# yaml-language-server: $schema={schema_path()}"  # for editors
    comments = " ".join(line.removeprefix("# ") for line in lines)
    assert "Shorter sides are 100 pixels. Images are scaled down to 64" in comments
    assert max(map(len, lines)) <= 90
    reduced = ("--epochs", "1", "--only", "vq")
    assert vqbench("run", "my_suite.yaml", *reduced, "--quiet") == 0
    assert "1 record of 1" in capsys.readouterr().out
    assert vqbench("status", "my_suite.yaml", *reduced) == 0
    assert "1 run: 1 done" in capsys.readouterr().out


@pytest.mark.parametrize(("side", "size"), [(200, 64), (63, 32), (20, 16), (9, 16)])
def test_the_size_is_one_that_the_images_have(
    side: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small images are not enlarged where a smaller size exists; LPIPS is left out where it cannot be computed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(60):
        (tmp_path / "images" / f"{number}.png").write_bytes(noise(number, side))
    assert vqbench("init", "images", "-o", "mine.yaml") == 0
    suite = load_suite("mine.yaml")
    assert suite.datasets[0].args["size"] == size
    assert ("lpips" in suite.metrics) == (size >= 32)


def test_the_length_does_not_grow_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has some hundred updates, whatever the number of images, and holds none out that it trains on."""
    from vqbench.planning import loading

    monkeypatch.chdir(tmp_path)
    for count in (40, 400):
        folder = tmp_path / f"images{count}"
        for split, images in (("train", count), ("test", 4)):
            (folder / split).mkdir(parents=True)
            for number in range(images):
                (folder / split / f"{number}.png").write_bytes(noise(number + 1000 * (split == "test"), 16))
        assert vqbench("init", folder, "-o", f"of{count}.yaml") == 0
        plan = loading.load(f"of{count}.yaml", [])
        lengths = [plan.length(run).updates for run in plan.runs()]
        assert all(500 <= (updates or 0) <= 700 for updates in lengths)


def test_what_cannot_work_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No folder, no images, too few, a file that exists or a wrong name: exit code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    jpegs(tmp_path / "few", 8)
    jpegs(tmp_path / "images")
    (tmp_path / "mine.yaml").write_text("name: mine")
    cases = {
        ("nowhere",): "nowhere: no such folder",
        ("none",): "no image that can be used",
        ("few",): "",
        ("images", "-o", "mine.yaml"): "mine.yaml exists",
        ("images", "-o", "1x.yaml"): "cannot be named '1x'",
        ("images", "-o", "mine.yml"): "-o mine.yaml",
    }
    for words, said in cases.items():
        assert vqbench("init", *words) == 2
        shown = capsys.readouterr()
        assert said in shown.err
        assert shown.err.count("\n") == 1
        assert shown.out == ""
    assert sorted(path.name for path in tmp_path.glob("*.y*ml")) == ["mine.yaml"]
    assert (tmp_path / "mine.yaml").read_text() == "name: mine"


def test_a_wrong_folder_is_named_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a suite in its place already, a folder that does not exist is still the first thing to mend."""
    monkeypatch.chdir(tmp_path)
    Path("my_suite.yaml").write_text("")
    assert vqbench("init", "nonexist") == 2
    assert "nonexist: no such folder" in capsys.readouterr().err
