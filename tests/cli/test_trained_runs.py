"""`vqbench encode`, `decode`, `export`, and how commands are given a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import vqbench as api
from tests.evaluation.test_explain import a_run, stored
from tests.support.tiny_suite import vqbench
from vqbench.errors import UsageError
from vqbench.evaluation import image_files
from vqbench.evaluation.coding import ImageCoder
from vqbench.evaluation.exporting import programs as exporting
from vqbench.spec import RunSpec
from vqbench.store.results import ResultStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultStore:
    """A store in the current folder, with one run of 32 codes that is not trained."""
    monkeypatch.chdir(tmp_path)
    return ResultStore("runs")


@pytest.fixture
def run(store: ResultStore) -> RunSpec:
    return stored(store, a_run())


@pytest.fixture
def photos(store: ResultStore) -> Path:
    """A folder of photographs of other sizes, colour and grey, in folders."""
    folder = Path("photos")
    (folder / "more").mkdir(parents=True)
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    Image.fromarray(data.coffee()).save(folder / "more" / "coffee.jpg")
    Image.fromarray(data.camera()[:28, :28]).save(folder / "small.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


def said(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """Return the one line of a command that ends with ``code``, on stderr if it failed."""
    assert vqbench(*words) == code, capsys.readouterr().err
    shown = capsys.readouterr()
    assert code == 0 or (shown.out == "" and "fault of vqbench" not in shown.err)
    return shown.err.strip() if code else shown.out.strip()


def test_a_folder_is_encoded_and_decoded(run: RunSpec, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of a folder become codes under their names, and PNG files of these names again."""
    out = said(capsys, 0, "encode", run.key, photos, "-o", "c.npz", "-q")
    assert out == "c.npz: 3 images, 7x7x1 codes each, of 32"
    with np.load("c.npz", allow_pickle=False) as file:
        content = dict(file)
    assert content["names"].tolist() == ["astronaut.png", "more/coffee.jpg", "small.png"]
    assert (content["run"], content["num_codes"], content["image_size"].tolist()) == (run.key, 32, [28, 28])
    assert content["codes"].dtype == np.uint8
    model = api.load_run(run.key)
    grey = torch.from_numpy(data.camera()[:28, :28].copy())[None, None]
    assert np.array_equal(content["codes"][2], model.encode(grey)[0])  # an image of the right size is not changed
    assert said(capsys, 0, "decode", run.key, "c.npz", "-o", "back", "-q") == "back: 3 images"
    assert sorted(p.relative_to("back").as_posix() for p in Path("back").rglob("*.png")) == [
        "astronaut.png",
        "more/coffee.png",
        "small.png",
    ]
    assert np.array_equal(np.asarray(Image.open("back/small.png")), model.reconstruct(grey)[0, 0])


def test_changed_images_are_counted(run: RunSpec, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Notes say how many images were resized and lost colours, and there is none for images that the run takes."""
    assert vqbench("encode", run.key, photos / "astronaut.png", "-o", "one.npz", "-q") == 0
    assert "1 of 1 image was resized or cropped to 28x28 pixels" in capsys.readouterr().err
    assert vqbench("encode", run.key, photos, "-q") == 0
    notes = capsys.readouterr().err
    assert "2 of 3 images were resized or cropped to 28x28 pixels" in notes
    assert "2 of 3 images were converted to grey" in notes
    assert vqbench("encode", run.key, photos / "small.png", "-o", "small.npz", "-q") == 0
    assert capsys.readouterr().err == ""


def test_arrays_are_encoded_and_decoded_exactly(run: RunSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrays as .npy or .npz, levels or floats, give equal codes; decoded to .npz they are the model's floats."""
    model = api.load_run(run.key)
    images = model.test_images()[:130]
    np.save("levels.npy", images)
    np.savez("floats.npz", images=images.numpy() / 255, labels=np.zeros(130))
    for name in ("levels.npy", "floats.npz"):
        Path("c.npz").unlink(missing_ok=True)
        said(capsys, 0, "encode", run.key, name, "-o", "c.npz", "-q")
        with np.load("c.npz") as file:
            assert np.array_equal(file["codes"], model.encode(images))
    said(capsys, 0, "decode", run.key, "c.npz", "-o", "d.npz", "-q")
    with np.load("d.npz") as file:
        assert np.array_equal(file["images"], model.reconstruct(images / 255))
        assert file["names"].tolist()[:2] == ["000000", "000001"]


def test_nothing_is_overwritten(run: RunSpec, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No command that uses a trained run replaces a file, be it its input, the default of -o, or in a folder."""
    said(capsys, 0, "encode", run.key, photos, "-o", "c.npz", "-q")
    before = (photos / "astronaut.png").read_bytes()
    assert "photos/astronaut.png: exists" in said(capsys, 2, "decode", run.key, "c.npz", "-o", photos, "-q")
    assert (photos / "astronaut.png").read_bytes() == before
    assert not (photos / "more" / "coffee.png").exists()
    Path("codes.npz").touch()
    kept = "exists, and no file is replaced; give another name with -o"
    assert f"c.npz: {kept}" in said(capsys, 2, "decode", run.key, "c.npz", "-o", "c.npz", "-q")
    assert f"codes.npz: {kept}" in said(capsys, 2, "encode", run.key, photos, "-q")
    assert Path("codes.npz").read_bytes() == b""
    Path("kept").mkdir()
    Path("kept/file").touch()
    assert "kept: exists and is not empty" in said(capsys, 2, "export", run.key, "-o", "kept", "-q")
    assert [path.name for path in Path("kept").iterdir()] == ["file"]


def test_wrong_input_is_one_sentence(run: RunSpec, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever cannot be encoded or decoded is refused with what it is and what to do."""
    np.savez("two.npz", a=np.zeros(3), b=np.zeros(3))
    np.save("small.npy", np.zeros((2, 1, 14, 14), np.uint8))
    Path("bad.npy").write_bytes(b"\x93NUMPY garbage")
    Path("empty").mkdir()
    (photos / "broken.png").write_bytes(b"\x89PNG")
    said(capsys, 0, "encode", run.key, photos / "small.png", "-o", "c.npz", "-q")
    for words, code, sentence in (
        (("encode", run.key), 2, "1 word: give RUN IMAGES, or SUITE ROW IMAGES"),
        (("encode", run.key, "none"), 2, "none: no such file or folder"),
        (("encode", run.key, "none.npy"), 2, "none.npy: no such file"),
        (("encode", run.key, "empty"), 2, "empty: no image file is in it"),
        (("encode", run.key, "two.npz"), 2, "two.npz: 2 arrays, none called 'images'"),
        (("encode", run.key, "bad.npy"), 2, "bad.npy: not an array of numbers"),
        (("encode", run.key, "small.npy"), 2, "trained on 28x28 pixels"),
        (("encode", run.key, photos), 1, "photos/broken.png: cannot be used"),
        (("encode", run.key, photos, "-o", "codes.txt"), 2, "codes are written as .npz"),
        (("encode", "abc", photos), 2, "has no finished run 'abc'"),
        (("encode", "quick", "cvq", photos), 2, "no finished run of row 'cvq' of suite 'quick'"),
        (("decode", run.key, "none.npz"), 2, "none.npz: no such file"),
        (("decode", run.key, "two.npz"), 2, "two.npz: not a file of codes (it has no array 'codes'"),
        (("decode", run.key, "c.npz", "-o", "bad.npy"), 2, "bad.npy: is a file"),
        (("export", "abc"), 2, "has no finished run 'abc'"),
    ):
        assert sentence in said(capsys, code, *words, "-q"), words


def test_codes_of_another_run_are_refused(
    run: RunSpec, store: ResultStore, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Codes mean nothing to the model of another run, so it does not decode them."""
    other = stored(store, a_run(seed=7))
    said(capsys, 0, "encode", run.key, photos, "-o", "c.npz", "-q")
    assert f"codes of run {run.key}, not of {other.key}" in said(capsys, 2, "decode", other.key, "c.npz", "-q")


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png", "C:\\out.png", "", "a//b.png"])
def test_names_in_a_file_of_codes_lead_nowhere_else(name: str) -> None:
    """A file of codes can be anybody's: a name that leads out of the folder is refused before anything is written."""
    with pytest.raises(UsageError, match="not a name below a folder"):
        image_files.png_names(["fine.png", name])


def test_png_names_are_all_different() -> None:
    """Names that differ in their suffix alone keep it."""
    assert image_files.png_names(["a.jpg", "b/c.png"]) == ["a.png", "b/c.png"]
    assert image_files.png_names(["a.jpg", "a.png"]) == ["a.jpg.png", "a.png.png"]
    with pytest.raises(UsageError, match="two images have the same name"):
        image_files.png_names(["a.jpg", "a.jpg"])


def test_an_exported_folder_serves_as_a_run(
    run: RunSpec, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`encode` takes the folder in place of a key; what cannot be exported is a sentence, and the rest is written."""
    whole = exporting.programs

    def without_encoder(coder: ImageCoder) -> exporting.Programs:
        monkeypatch.setattr(exporting.EncoderProgram, "forward", lambda self, x: x if x.sum() > 0 else -x)
        return whole(coder)

    monkeypatch.setattr("vqbench.evaluation.exporting.exported_run.programs", without_encoder)
    assert vqbench("export", run.key, "-o", "exported", "-q") == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("vqbench: no encode.pt2: ")
    assert shown.err.count("\n") == 1
    assert "exported/decode.pt2" in shown.out
    assert "There is no encode.pt2" in Path("exported/README.md").read_text()
    said(capsys, 0, "encode", run.key, photos, "-o", "a.npz", "-q")
    said(capsys, 0, "encode", "exported", photos, "-o", "b.npz", "-q")
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


def test_a_program_that_computes_something_else_is_left_out(run: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is compared with the model for other numbers of images than it was traced with."""
    trained = api.load_run(run.key)
    monkeypatch.setattr(
        exporting.DecoderProgram,
        "forward",
        lambda self, codes: codes.double() + 1 if torch.compiler.is_exporting() else codes.double(),
    )
    made = exporting.programs(trained.coder)
    assert list(made.files) == ["encode.pt2"]
    assert made.left_out == ["no decode.pt2: the program's result differs from the model's for 1 image"]


def test_an_interrupted_export_leaves_nothing(run: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder appears as a whole or not at all."""
    monkeypatch.setattr("vqbench.evaluation.exporting.exported_run.programs", _interrupt)
    before = sorted(Path().iterdir())
    assert vqbench("export", run.key, "-o", "exported", "-q") == 130
    assert sorted(Path().iterdir()) == before


def _interrupt(coder: ImageCoder) -> None:
    raise KeyboardInterrupt


def test_explain_refuses_an_unknown_metric_before_it_begins(run: RunSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence about an unknown metric is all that is printed."""
    assert vqbench("explain", run.key, "--metrics", "nosuch") == 2
    assert capsys.readouterr().err.startswith("vqbench: unknown metric 'nosuch'")
