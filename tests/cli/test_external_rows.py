"""Rows that vqbench did not train: stored by `measure --row`, shown under a mark, known to every command of stores."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vqbench as api
from tests.cli.test_json import require
from tests.support.tiny_suite import vqbench, write
from vqbench import registry
from vqbench.errors import UsageError
from vqbench.images import to_unit
from vqbench.store import deletion, external_rows
from vqbench.store.results import ResultStore

Folder = Path
FORMATS = ("text", "markdown", "csv", "latex")
MARKS = {"text": "Mine [E]", "markdown": "Mine<sup>E</sup>", "latex": r"Mine\textsuperscript{E}", "csv": ",E,external,"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A suite of two trained rows, the originals, and what `export` writes of one run."""
    folder = tmp_path_factory.mktemp("external")
    suite = write(folder, "vq, hvq")
    store = folder / "runs"
    common = ("--store", store, "-q", "--device", "cpu")
    assert vqbench("run", suite, "--subset", "600", *common, "--jobs", "0", "--seeds", "1,2") == 0
    records = store.glob("*-vq-*/record.json")
    (run,) = [path.parent for path in records if json.loads(path.read_text())["run"]["seed"] == 1]
    assert vqbench("export", run, "--reconstructions", *common, "-o", folder / "exported") == 0
    images = registry.create("datasets", "fashion_mnist_5k").pixels("test")  # type: ignore[attr-defined]
    originals = images.numpy()
    np.save(folder / "originals.npy", originals)
    noise = np.random.default_rng(0).integers(-2, 3, originals.shape)
    np.save(folder / "better.npy", (originals.astype(int) + noise).clip(0, 255).astype(np.uint8))
    (folder / "run").write_text(run.name)
    return folder


@pytest.fixture
def here(made: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The current folder, with a copy of all of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measure(reconstructions: object, *words: object, originals: object = "originals.npy", row: str = "Mine") -> int:
    common = ("--suite", "tiny.yaml", "--device", "cpu", "-q")
    return vqbench("measure", originals, reconstructions, *common, "--row", row, *words)


def table(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert vqbench("table", "tiny.yaml", "--subset", "600", "--seeds", "1,2", *words) == 0
    return capsys.readouterr().out


def stored(folder: Folder, root: str = "runs") -> Path:
    (found,) = (folder / root).glob("external-*")
    return found


def test_an_exported_run_has_the_values_of_its_record(here: Folder) -> None:
    """Given in any order, the images of a run give its values, and its values per image to every digit."""
    order = np.random.default_rng(1).permutation(1000)
    np.save("shuffled.npy", np.load("originals.npy")[order])
    np.save("theirs.npy", np.load("exported/reconstructions.npy")[order])
    assert measure("theirs.npy", "--measured-by", "Jo", originals="shuffled.npy") == 0
    record, store = external_rows.read_at(stored(here)), ResultStore("runs")
    run = json.loads((here / "runs" / (here / "run").read_text() / "record.json").read_text())
    trained = store.images_at(here / "runs" / (here / "run").read_text() / "per_image.npz")
    arrays = external_rows.images_of(store, record)
    assert arrays.keys() == {"clean/l1", "clean/psnr"}
    for metric in ("l1", "psnr"):
        value = record.values["clean"][metric]
        assert value.value == pytest.approx(run["values"]["clean"][metric]["value"], rel=1e-12)
        assert value.images == 1000
        assert np.array_equal(arrays[f"clean/{metric}"], trained[f"clean/{metric}"])
    assert record.made["by"] == "Jo"
    assert str(here) not in record.to_json()  # no path of this machine


def test_codes_have_a_rate(here: Folder) -> None:
    """Codes give usage and the bit rate, and are part of the record."""
    assert measure("exported/reconstructions.npy", "--codes", "exported/codes.npz") == 0
    record = external_rows.read_at(stored(here))
    run = json.loads((here / "runs" / (here / "run").read_text() / "record.json").read_text())
    assert record.values["clean"]["usage"].value == run["values"]["clean"]["usage"]["value"]
    assert record.given["codes"]["bits_per_image"] == 6 * 7 * 7  # 64 codes, 7x7 positions


@pytest.mark.parametrize("style", FORMATS)
def test_shown_and_never_ranked(here: Folder, style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Better than all trained rows, it has its mark and no rank; theirs are as before."""
    before = table(capsys, "--format", style, "--notes")
    assert measure("better.npy") == 0
    after = table(capsys, "--format", style, "--notes")
    assert MARKS[style] in after
    assert MARKS[style] not in before
    if style == "csv":
        old, new = (list(csv.DictReader(io.StringIO(text))) for text in (before, after))
        own = [row for row in new if row["row"] == "Mine"]
        assert {row["rank"] for row in own} == {""}
        assert [row for row in new if row["row"] != "Mine"] == old
    elif style == "text":
        text = " ".join(after.split())
        assert "E: not trained by vqbench, so of unknown budget and never ranked: Mine (measured " in text
        assert "l1: Mine is ahead of vq, hvq." in text or "l1: Mine is within noise of" in text
        assert "2 seeds" in text.partition("mean ± sample")[2]
        assert "to 2 seeds" not in text  # the external row counts no seed


def test_compared_by_image_with_one_seed(here: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """With one seed, noise of two levels is significantly ahead of a codebook, and no method is judged."""
    assert measure("better.npy") == 0
    capsys.readouterr()
    assert vqbench("table", "tiny.yaml", "--subset", "600", "--seeds", "1", "--notes") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "PSNR: Mine is ahead of vq, hvq." in text
    assert "two trained models are compared, not two methods" in text
    np.save("worse.npy", 255 - np.load("originals.npy"))
    assert measure("worse.npy", row="Negatives") == 0
    assert vqbench("table", "tiny.yaml", "--subset", "600", "--seeds", "1", "--notes") == 0
    assert "PSNR: Negatives is behind vq, hvq." in " ".join(capsys.readouterr().out.split())


def test_only_beside_the_same_images(here: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """A row of the first 100 images stands in the table of these alone."""
    for name in ("originals", "better"):
        np.save(f"{name}100.npy", np.load(f"{name}.npy")[:100])
    assert measure("better100.npy", originals="originals100.npy") == 0
    assert "Mine" not in table(capsys)
    assert "Mine [E]" in table(capsys, "--test-images", "100")


@pytest.mark.parametrize("layout", ["rows", "side_by_side"])
def test_in_every_group_of_a_setting(here: Folder, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table by codebook sizes shows the row with each of them, and compares it there."""
    text = Path("tiny.yaml").read_text().replace("num_codes: 64", "num_codes: [32, 64]")
    Path("tiny.yaml").write_text(text.replace("table: {", f"table: {{group: num_codes, layout: {layout}, "))
    assert measure("better.npy", "--metrics", "l1") == 0
    text = " ".join(table(capsys, "--notes").split())
    assert text.count("Mine [E,a]") == 2
    assert "[a] has no setting; the same values in every group" in text
    assert "num_codes = 64: l1: Mine is" in text
    assert "num_codes = 32: l1:" not in text  # no run of this size was trained


def test_json_and_pages_know_it(here: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON of `table` and `list` keeps its schema, and the page of `report` has the row."""
    assert measure("better.npy") == 0
    data: Any = json.loads(table(capsys, "--json"))
    require("table", data)
    cells = [cell for cell in data[0]["cells"] if cell["row"] == "Mine"]
    assert {cell["rank"] for cell in cells} == {None}
    assert cells[0]["marks"] == ["E"]
    assert vqbench("list", "runs", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    require("list", listed)
    assert listed[-1]["about"] == "tiny: Mine (external)"
    assert vqbench("report", "tiny.yaml", "--subset", "600", "--seeds", "1,2", "-o", "page.html") == 0
    assert "Mine" in (here / "page.html").read_text()


MODEL = """
import torch

def blocks(x):
    y = torch.nn.functional.avg_pool2d(x, 4)
    codes = ((y[:, 0] + 1) * 7.5).round().long()
    return torch.nn.functional.interpolate(y, scale_factor=4.0), codes
"""


def test_a_model_makes_the_row_of_its_files(here: Folder) -> None:
    """`--model` on the data set, and the files that the model writes, are the same pairs, values, codes and rate."""
    Path("model.py").write_text(MODEL)
    scope: dict[str, Any] = {}
    exec(MODEL, scope)
    made, codes = scope["blocks"](to_unit(torch.from_numpy(np.load("originals.npy"))))
    np.save("blocks.npy", made.numpy())
    np.save("blocks_codes.npy", codes.numpy())
    common = ("--suite", "tiny.yaml", "--device", "cpu", "-q", "--num-codes", 16)
    model = ("--model", "model.py:blocks", "--dataset", "fashion_mnist_5k", "--row", "Model")
    assert vqbench("measure", *model, *common) == 0
    assert vqbench("measure", *model, *common, "--runs", "again") == 0  # from the values that were kept
    (again,) = external_rows.external_records(ResultStore("again"))
    files = ("originals.npy", "blocks.npy", "--codes", "blocks_codes.npy", "--range", "-1..1", "--row", "Files")
    assert vqbench("measure", *files, *common) == 0
    theirs, ours = external_rows.external_records(ResultStore("runs"))
    assert (ours.label, theirs.label) == ("Model", "Files")
    assert again.key == ours.key
    assert ours.values == again.values == theirs.values
    for name in ("pairs", "codes"):
        assert ours.given[name] == theirs.given[name]
    assert ours.given["codes"]["bits_per_image"] == 4 * 7 * 7
    assert ours.given["model"]["name"] == "model.py:blocks"
    assert ours.given["reconstructions"]["digest"] == theirs.given["reconstructions"]["digest"]


def test_a_run_is_no_external_row(here: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """What vqbench trained is not stored as a row that it did not train."""
    run = Path("runs") / Path("run").read_text()
    assert vqbench("measure", "--model", run, "--suite", "tiny.yaml", "--row", "Mine", "-q") == 2
    assert "is a run of vqbench, and external rows are of models that it did not train" in " ".join(
        capsys.readouterr().err.split()
    )


def test_python_stores_the_same_row(here: Folder) -> None:
    """`vqbench.evaluate(suite=, row=)` writes the record that the command writes, and `about` says where."""
    assert measure("better.npy", "--measured-by", "Jo", "--runs", "theirs") == 0
    files = ("originals.npy", "better.npy")
    evaluation = api.evaluate(*files, suite="tiny.yaml", row="Mine", measured_by="Jo", runs="ours")
    folder = stored(here, "ours")
    assert evaluation.about["row"] == {"label": "Mine", "suite": "tiny", "folder": f"ours/{folder.name}"}
    ours, theirs = (external_rows.read_at(stored(here, root)) for root in ("ours", "theirs"))
    assert ours.given == theirs.given
    assert ours.values == theirs.values
    assert ours.made["by"] == "Jo"
    for wrong in ({"suite": "tiny.yaml"}, {"row": "Mine"}, {"measured_by": "Jo"}):
        with pytest.raises(UsageError, match="suite and row"):
            api.evaluate(*files, **wrong)
    with pytest.raises(UsageError, match="for paths alone"):
        api.evaluate(np.load(files[0]), np.load(files[1]), suite="tiny.yaml", row="Mine")


def test_results_have_it_without_a_training(here: Folder) -> None:
    """`vqbench.results` marks its values as external and says nothing of a training; runs stay as they are."""
    before = api.results("runs")
    assert measure("better.npy") == 0
    frame = api.results("runs")
    assert frame[~frame.external].equals(before)
    own = frame[frame.external]
    assert set(own.label) == {"Mine"}
    assert dict(zip(own.metric, own.value, strict=True))["psnr"] == pytest.approx(45, abs=2)
    assert own[["seed", "seconds", "parameters", "dim"]].isna().all().all()
    assert set(own.quantizer) == {""}
    suite = api.load_suite("tiny.yaml", seeds=[1, 2], subset=600)
    assert list(dict.fromkeys(api.results("runs", suite=suite).label)) == ["vq", "hvq", "Mine"]
    assert not api.results("runs", suite="quick").external.any()


NOT_STORED = {  # words, originals and reconstructions, the sentence
    "unknown images": ((), ("better.npy", "originals.npy"), "none of its 1,000 images is a test image"),
    "one other image": ((), ("one.npy", "better.npy"), "1 of its 1,000 images are no test images of Fashion-MNIST 5k"),
    "a later part": ((), ("late.npy", "late.npz"), "990 of the 1,000 test images of Fashion-MNIST 5k, but neither"),
    "label of the suite": (("--row", "vq"), ("originals.npy", "better.npy"), "trains a row of this label"),
    "no label": (("--row", ""), ("originals.npy", "better.npy"), "give a label of 1 to 60 letters"),
    "damaged": (("--skip-damaged",), ("originals.npy", "better.npy"), "--row: not with --skip-damaged"),
    "reference": (("--reference", "better.npy"), ("originals.npy", "better.npy"), "--row: not with --reference"),
}


@pytest.mark.parametrize("case", NOT_STORED)
def test_refused(here: Folder, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Images that the table does not have, and options that fit no row, are one sentence; nothing is stored."""
    originals = np.load("originals.npy")
    np.save("late.npy", originals[10:])
    np.savez("late.npz", images=np.load("better.npy")[10:])
    originals[3] = 7
    np.save("one.npy", originals)
    words, (first, second), sentence = NOT_STORED[case]
    assert measure(second, *words, originals=first) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not list((here / "runs").glob("external-*"))


@pytest.mark.parametrize("words", [("--suite", "tiny.yaml"), ("--row", "Mine"), ("--measured-by", "Jo")])
def test_options_belong_together(words: tuple[str, ...], here: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """--suite, --row and --measured-by alone are errors."""
    assert vqbench("measure", "originals.npy", "better.npy", *words, "-q") == 2
    assert "--row" in capsys.readouterr().err


def test_stored_again(here: Folder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images get further metrics; others of the same label are refused, files before they are measured."""
    assert measure("better.npy", "--metrics", "l1") == 0
    assert measure("better.npy", "--metrics", "ssim") == 0
    assert external_rows.read_at(stored(here)).values["clean"].keys() == {"l1", "ssim"}
    capsys.readouterr()
    with monkeypatch.context() as context:
        context.setattr("vqbench.measuring.pair_measurement.measure_pairs", None)
        assert measure("exported/reconstructions.npy") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "of other reconstructions or codes; delete this folder" in " ".join(shown.err.split())
    np.save("shuffled.npy", np.load("better.npy")[::-1])
    assert measure("shuffled.npy") == 2, "the same images, of other originals"
    assert "of other reconstructions or codes; delete this folder" in " ".join(capsys.readouterr().err.split())


def test_published_verified_and_not_debris(here: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """`publish` copies it, `verify` counts it and finds a changed value, `clean` and tidying leave it."""
    assert measure("better.npy") == 0
    words = ("tiny.yaml", "--subset", "600", "--seeds", "1,2")
    assert vqbench("publish", *words) == 0
    assert "1 external row published to results" in capsys.readouterr().err
    assert vqbench("verify", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    require("verify", data)
    assert data["external"] == 1
    deletion.tidy(here / "runs")
    assert vqbench("clean", *words, "--yes") == 0
    assert stored(here).is_dir()
    record = external_rows.read_at(stored(here, "results"))
    record.values["clean"]["psnr"].value = 99.0  # with a digest that fits
    (stored(here, "results") / external_rows.FILE).write_text(record.to_json())
    assert vqbench("verify") == 1
    assert "one of them was changed" in " ".join(capsys.readouterr().out.split())
    path = stored(here, "results") / external_rows.FILE
    path.write_text(path.read_text().replace("99.0", "98.0"))
    assert vqbench("verify") == 1
    assert "its content does not fit its digest" in " ".join(capsys.readouterr().out.split())
    capsys.readouterr()
    assert vqbench("table", *words, "--store", "results") == 1  # as for damaged records of runs
    out, err = capsys.readouterr()
    assert "Mine" not in out
    assert "not a record of an external row" in " ".join(err.split())


def test_merged_and_compared(here: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """`merge` copies a row once, completes it, and names a conflict; `diff` says what is new and what differs."""
    assert measure("better.npy", "--metrics", "l1") == 0
    Path("other").mkdir()
    assert vqbench("merge", "other", "runs", "--dry-run") == 0
    assert not list(Path("other").iterdir())
    assert vqbench("merge", "other", "runs") == 0
    capsys.readouterr()
    assert vqbench("merge", "other", "runs") == 0
    assert "other: 5 runs there already." in capsys.readouterr().out
    assert stored(here, "other").name == stored(here).name
    assert measure("better.npy", "--metrics", "psnr") == 0
    assert vqbench("merge", "other", "runs") == 0
    assert external_rows.read_at(stored(here, "other")).values["clean"].keys() == {"l1", "psnr"}
    capsys.readouterr()
    assert vqbench("diff", "other", "runs", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    require("diff", data)
    assert {change["verdict"] for change in data["changes"]} == {"equal"}
    shutil.rmtree(stored(here))
    assert vqbench("diff", "other", "runs") == 0
    assert "gone: fashion_mnist_5k: external row 'Mine' of tiny, 1,000 images" in capsys.readouterr().out
    assert measure("exported/reconstructions.npy", "--metrics", "l1") == 0
    assert vqbench("diff", "other", "runs") == 0
    assert "differs; other reconstructions or codes" in " ".join(capsys.readouterr().out.split())
    assert vqbench("merge", "other", "runs") == 1
    assert "of other reconstructions or codes" in " ".join(capsys.readouterr().out.split())
