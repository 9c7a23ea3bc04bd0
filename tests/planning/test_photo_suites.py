"""Suites of whole systems on folders of photographs: rows of their own kind, the data key, the plan, Table B.2."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.support import odd_images
from tests.support.image_folders import noise
from tests.support.tiny_suite import vqbench
from vqbench.cli import app
from vqbench.cli.table import table_text as printed_table
from vqbench.errors import UsageError
from vqbench.planning import cost, loading, plan_file, yamlfile
from vqbench.planning import expansion as spec
from vqbench.planning.overrides import Override, override
from vqbench.planning.plan import DatasetInfo, Plan, PlannedRun
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import find_suite, load_suite
from vqbench.planning.yamlfile import Document
from vqbench.reporting import paper
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.render import render
from vqbench.reporting.verdict import VerdictKind
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

TEXT = """
name: systems
train: {clean: {epochs: 1, batch_size: 4}}
measure: [clean]
datasets: [{photos: {size: 32, damaged: skip}}]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 16, dim: 8}
quantizers:
  - {vq: {}, label: plain}
  - vq: {}
    label: system
    backbone: {conv: {hidden: 32, residual_hidden: 8}}
    train: {official: {epochs: 2, batch_size: 4}}
    codebook: {num_codes: [8, 4]}
  - {residual: {depth: 2, level_codes: 4}, label: levels}
metrics: [psnr, rfid]
table: {columns: [latent, codes, psnr, rfid, seconds]}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no folder of data."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 training and 4 test images, one of either damaged."""
    for split, count in (("train", 41), ("val", 5)):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(odd_images.scene(33 + number, 40 + (split == "val")))
            image.save(tmp_path / "photos" / split / f"{number:02}.png")
        (tmp_path / "photos" / split / "00.png").write_bytes(b"")
    return tmp_path / "photos"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "systems.yaml"
    path.write_text(TEXT)
    return path


def read(text: str) -> SuiteSpec:
    return SuiteSpec.from_document(yamlfile.parse(text, "systems.yaml"))


def test_prepare_reports_images(suite: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prepare` opens the data sets, too: it prints the number of images, or where they should be."""
    words = (
        "prepare",
        suite,
        "--set",
        "metrics=[psnr]",
        "--set",
        "table.columns=[psnr]",
        "--set",
        "datasets=[{photos: {damaged: skip}}]",
    )
    assert vqbench(*words, "--set", f"data={folder}") == 0
    assert "40 training and 4 test images" in capsys.readouterr().out
    assert vqbench(*words[:-1], "datasets=[lsun]") == 1
    assert "LSUN bedroom is not on this machine" in capsys.readouterr().err


# Rows ----------------------------------------------------------------------------------------------------------------


def test_a_row_has_its_own_training_backbone_and_codebook(folder: Path) -> None:
    """A row's own settings apply to it alone, a grid of codes included; all others are those of the suite."""
    entries = spec.expand(read(f"{TEXT}data: {folder}\n"))
    seen = {
        entry.label: (
            entry.run.recipe.args["epochs"],
            entry.run.recipe.args["selection"],
            entry.run.backbone.args["hidden"],
            entry.run.quantizer.args["num_codes"],
            entry.run.quantizer.args["dim"],
        )
        for entry in entries
    }
    assert seen == {
        "plain": (1, "holdout", 16, 16, 8),
        "system (num_codes=8)": (2, "test", 32, 8, 8),
        "system (num_codes=4)": (2, "test", 32, 4, 8),
        "levels": (1, "holdout", 16, 16, 8),
    }


def test_a_suite_of_systems_reads_back(folder: Path) -> None:
    """The resolved suite that is kept beside records is the suite."""
    suite = read(f"{TEXT}data: {folder}\n")
    assert read(suite.dump()).model_dump() == suite.model_dump()
    for name in ("photos_quick", "ffhq", "imagenet"):
        shipped = load_suite(name)
        assert read(shipped.dump()).model_dump() == shipped.model_dump()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "official: {epochs",
            "offical: {epochs",
            ["13:5: quantizers.1.train:", "unknown training protocol", "'official'"],
        ),
        ("hidden: 32", "hiden: 32", ["12:23: quantizers.1.backbone.conv.hiden", "'hidden'"]),
        ("epochs: 2", "epoch: 2", ["13:24: quantizers.1.train.official.epoch", "'epochs'"]),
        ("num_codes: [8, 4]", "num_codes: [8, 0]", ["quantizers.1.codebook.num_codes.1", "is 0"]),
        ("vq: {}, label: plain", "vq: {num_codes: 3}, label: plain", ["quantizers.0.vq.num_codes", "`codebook`"]),
        (
            "photos: {size: 32, damaged: skip}",
            "photos: {size: 32, damaged: no}",
            ["datasets.0.photos.damaged", "'skip'"],
        ),
        ("latent, codes", "latent, code", ["table.columns.1", "'codes'"]),
    ],
)
def test_what_is_wrong_with_a_row_has_its_place(old: str, new: str, words: list[str]) -> None:
    """A mistake in a row's own settings is reported with line, column and key."""
    assert old in TEXT
    with pytest.raises(UsageError) as error:
        spec.expand(read(TEXT.replace(old, new)))
    for word in words:
        assert word in str(error.value)


def test_set_reaches_the_parts_of_a_row() -> None:
    """``--set`` changes, and adds, what a row has of its own, by its label."""
    before = yaml.safe_load(TEXT)
    sets = ["quantizers.system.train.official.epochs=7", "quantizers.plain.codebook.num_codes=3", "data=/x"]
    after = override(Document(before), map(Override.parse, sets), SuiteSpec.model_fields).data
    assert after["quantizers"][1]["train"]["official"]["epochs"] == 7
    assert after["quantizers"][0]["codebook"] == {"num_codes": 3}
    assert after["data"] == "/x"


def test_data_is_for_data_sets_that_are_folders(folder: Path) -> None:
    """The key ``data`` gives each of them its folder, and is refused where a data set has none."""
    [given] = {entry.run.dataset.args["content"] for entry in spec.expand(read(f"{TEXT}data: {folder}\n"))}
    own = TEXT.replace("damaged: skip", f"damaged: skip, folder: {folder}")
    assert {entry.run.dataset.args["content"] for entry in spec.expand(read(own))} == {given}
    with pytest.raises(UsageError, match=r"systems\.yaml:18:1: data: dataset 'mnist' has no argument 'folder'"):
        spec.expand(read(f"{TEXT.replace('{photos: {size: 32, damaged: skip}}', 'mnist')}data: {folder}\n"))


def test_the_place_of_images_is_in_no_run(folder: Path, tmp_path: Path) -> None:
    """Keys follow from content alone, and no path gets into what is stored of a run."""
    first = spec.expand(read(f"{TEXT}data: {folder}\n"))
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "other")
    second = spec.expand(read(f"{TEXT}data: {moved}\n"))
    assert [entry.run.key for entry in first] == [entry.run.key for entry in second]
    assert str(tmp_path) not in json.dumps([entry.run.to_dict() for entry in first])


# Plans ---------------------------------------------------------------------------------------------------------------


def loaded(suite: Path, store: Path, *sets: str) -> Plan:
    return loading.load(suite, [ResultStore(store)], list(map(Override.parse, sets)))


def test_a_plan_has_counts_notes_and_shapes(suite: Path, folder: Path, tmp_path: Path) -> None:
    """A plan counts usable images and shows the skipped ones and the shape of each row's codes."""
    made = loaded(suite, tmp_path / "runs", f"data={folder}")
    info = made.datasets["photos"]
    assert (info.train, info.test, info.holdout) == (40, 4, 4)
    assert [note.partition(" images")[0] for note in info.notes] == [
        "Photographs: 1 of 41 training",
        "Photographs: 1 of 5 test",
    ]
    shapes = {entry.label: (entry.latent, entry.codes) for entry in made.entries}
    assert shapes["plain"] == ("8²", 16)
    assert shapes["levels"] == ("8²×2", 4)
    assert [cost.updates(made, entry.run) for entry in made.entries] == [9, 20, 20, 9]


def test_a_kept_plan_serves_until_the_folder_changes(
    suite: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is resolved again only after an image was added or removed, and remains valid without the folder."""
    store = tmp_path / "runs"
    made = loaded(suite, store, f"data={folder}")
    plan_file.save(made, ResultStore(store))
    resolved = 0
    resolve = loading.resolve

    def counted(*args: Any) -> Plan:
        nonlocal resolved
        resolved += 1
        return resolve(*args)

    monkeypatch.setattr(loading, "resolve", counted)
    keys = [run.key for run in loaded(suite, store, f"data={folder}").runs()]
    assert keys == [run.key for run in made.runs()]
    assert resolved == 0
    (folder / "val" / "new.png").write_bytes((folder / "val" / "01.png").read_bytes())
    changed = loaded(suite, store, f"data={folder}")
    assert resolved == 1
    assert [run.key for run in changed.runs()] != keys
    folder.rename(tmp_path / "gone")
    assert [run.key for run in loaded(suite, store, f"data={folder}").runs()] == keys
    assert resolved == 1
    with pytest.raises(UsageError, match=r"^--set data=.*: data: .*no such folder"):
        loaded(suite, tmp_path / "other", f"data={folder}")


def test_a_kept_plan_serves_where_its_data_are_not(
    suite: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite resolved with the data is valid on a machine without them, but not the reverse."""
    (tmp_path / "data" / "ffhq").mkdir(parents=True)
    for number in (*range(1, 45), *range(60000, 60005)):
        image = (folder / "train" / "01.png").rename(tmp_path / "data" / "ffhq" / f"{number:05}.png")
        (folder / "train" / "01.png").write_bytes(image.read_bytes())
    suite.write_text(TEXT.replace("photos: {size: 32, damaged: skip}", "ffhq: {size: 32}"))
    bare = loaded(suite, tmp_path / "bare")
    plan_file.save(bare, ResultStore(tmp_path / "bare"))
    assert bare.runs()[0].dataset.args["content"] is None
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path / "data"))
    full = loaded(suite, tmp_path / "bare")
    assert full.datasets["ffhq"].train == 44
    plan_file.save(full, ResultStore(tmp_path / "full"))
    monkeypatch.delenv("VQBENCH_DATA")
    assert [run.key for run in loaded(suite, tmp_path / "full").runs()] == [run.key for run in full.runs()]
    assert [run.key for run in loaded(suite, tmp_path / "bare").runs()] == [run.key for run in bare.runs()]


def record(store: Path, entry: PlannedRun, images: int = 4, **values: float) -> None:
    measured = {"clean": {name: Value(value, 1, 1, images) for name, value in values.items()}}
    made = {"device": "d", "threads": 1, "versions": {"torch": "t"}, "seconds": 1.0}
    ResultStore(store).write(Record(entry.run, measured, made))


def test_the_table_of_systems(suite: Path, folder: Path, tmp_path: Path) -> None:
    """S and K are shown for all rows, run or not; metrics of too few images are noted and not ranked."""
    store = tmp_path / "runs"
    made = loaded(suite, store, f"data={folder}")
    for number, entry in enumerate(made.entries[:2]):
        record(store, entry, psnr=20.0 + number, rfid=5.0 + number)
    text = printed_table(made, [ResultStore(store)], "markdown", False)
    [plain] = [line for line in text.splitlines() if line.startswith("| plain")]
    assert [cell.strip() for cell in plain.strip("|").split("|")][1:5] == ["8²", "16", "20.00", "5.00"]
    assert "| levels " in text
    assert "8²×2" in text
    assert "- PSNR is not ranked: it needs at least 100 test images, here 4. rFID is not ranked: it needs" in text
    assert "1 of 41 training images cannot be used and are left out: 00.png (empty)." in text
    assert "clean (1 epoch, batch 4, learning rate 0.0003, float32): plain, levels; official (2 epochs" in text
    rows = list(csv.DictReader(io.StringIO(render(assemble.tables(made, [ResultStore(store)]), "csv"))))
    assert {row["value"] for row in rows if row["metric"] == "psnr"} == {"20.0", "21.0", ""}


# Table B.2 -----------------------------------------------------------------------------------------------------------

B2 = {  # typed once more, so that a slip in the data file and one here would have to be the same
    ("ffhq", "VQGAN"): "16² 1024 42 22.24 0.6641 0.1175 4.42",
    ("ffhq", "ViT-VQGAN"): "32² 8192 - - - - 3.13",
    ("ffhq", "RQ-VAE"): "16²×4 2048 - 22.99 0.6700 0.1302 3.88",
    ("ffhq", "MoVQ"): "16²×4 1024 56 26.72 0.8212 0.0585 2.26",
    ("ffhq", "SeQ-GAN"): "16² 1024 100 - - - 3.12",
    ("ffhq", "CVQ-VAE"): "16² 1024 100 26.82 0.8313 0.0608 2.80",
    ("ffhq", "CVQ-VAE 4 channels"): "16²×4 1024 100 26.87 0.8398 0.0533 2.03",
    ("imagenet", "VQGAN"): "16² 1024 44 19.07 0.5183 0.2011 7.94",
    ("imagenet", "ViT-VQGAN"): "32² 8192 96 - - - 1.28",
    ("imagenet", "RQ-VAE"): "8²×16 16384 - - - - 1.83",
    ("imagenet", "MoVQ"): "16²×4 1024 63 22.42 0.6731 0.1132 1.12",
    ("imagenet", "SeQ-GAN"): "16² 1024 100 - - - 1.99",
    ("imagenet", "CVQ-VAE"): "16² 1024 100 21.95 0.6612 0.1340 1.57",
    ("imagenet", "CVQ-VAE 4 channels"): "16²×4 1024 100 23.37 0.7115 0.1099 1.20",
}
COLUMNS = ("latent", "codes", "usage", "psnr", "ssim", "lpips", "rfid")


def test_b2_is_digit_for_digit() -> None:
    """All cells of B.2 are those typed a second time in this file, and those of a dash have no line."""
    count = 0
    for (dataset, row), line in B2.items():
        for column, wanted in zip(COLUMNS, line.split(), strict=True):
            found = paper.lookup("B.2", row, dataset, column)
            assert (found.printed if found else "-") == wanted, (dataset, row, column)
            count += found is not None
    assert count == len(paper.values("B.2")) == 80


def test_what_others_printed_is_quoted_apart() -> None:
    """Values that are not the paper's name their source, and are of one data set."""
    quoted = paper.elsewhere("B.2", "imagenet")
    assert "Quoted, README of taming-transformers: VQGAN, 16², K 16384: rfid 4.98." in quoted
    assert len(quoted) == len(set(quoted)) == 13
    assert paper.elsewhere("B.2", "ffhq") == paper.elsewhere("B.1", "mnist") == ()


@pytest.mark.parametrize("name", ["ffhq", "imagenet"])
def test_shipped_suites_of_b2_need_no_data_to_be_read(name: str, tmp_path: Path) -> None:
    """Without data and without runs the table has the printed columns and quotes every printed cell, marked as such."""
    made = loading.load(name, [ResultStore(tmp_path)])
    [table] = assemble.tables(made, [ResultStore(tmp_path)], paper=True)
    assert tuple(column.key for column in table.columns) == COLUMNS
    quoted = {
        (place.row.paper, place.column.key): place.cell.paper
        for place in table.places()
        if place.cell.paper is not None
    }
    wanted = {
        (row, column): printed
        for (dataset, row), line in B2.items()
        if dataset == name
        for column, printed in zip(COLUMNS, line.split(), strict=True)
        if printed != "-"
    }
    assert quoted == wanted
    verdicts = [place.cell.verdict.outcome for place in table.places() if place.cell.verdict]
    assert set(verdicts) == {VerdictKind.NOT_RUN}
    ours = {entry.paper_row: (entry.latent, str(entry.codes)) for entry in made.entries}
    for (dataset, row), line in B2.items():
        if dataset == name and row != "RQ-VAE":  # whose released models have other maps than the printed ones
            assert ours[row] == tuple(line.split()[:2])
    assert "paper" in render(table, paper=True)
    updates = {entry.label: cost.updates(made, entry.run) for entry in made.entries}
    longest = {"ffhq": (281_100, 281_250), "imagenet": (1_000_900, 400_360)}[name]  # 64 or 32 a batch, no rest
    assert (updates["VQGAN"], updates["RQ-VAE"], updates["SeQ-GAN"]) == (*longest, 700_000)


def test_values_are_held_against_b2_only_where_they_are_that_quantity(tmp_path: Path) -> None:
    """Full runs on whole splits get a verdict; reduced ones, and those on a part of the images, do not."""
    made = loading.load("ffhq", [ResultStore(tmp_path)])
    vqgan = made.entries[0]
    record(tmp_path, vqgan, 10_000, usage=43.0, psnr=22.30, ssim=0.70, lpips=0.118, rfid=9.0)
    [table] = assemble.tables(made, [ResultStore(tmp_path)], paper=True)
    found = {
        place.column.key: place.cell.verdict.outcome
        for place in table.places()
        if place.row.label == "VQGAN" and place.cell.verdict
    }
    assert found == {
        "usage": VerdictKind.REPRODUCED,
        "psnr": VerdictKind.REPRODUCED,
        "ssim": VerdictKind.CLOSE,
        "lpips": VerdictKind.REPRODUCED,
        "rfid": VerdictKind.DIFFERS,
    }
    part = Plan(
        made.suite,
        made.entries,
        made.metrics,
        {"ffhq": DatasetInfo("FFHQ", 60_000, 9_000, 5_000, ("FFHQ: 9,000 test images are used, of 10,000.",))},
        made.inputs,
        False,
    )
    [table] = assemble.tables(part, [ResultStore(tmp_path)], paper=True)
    [reason] = {
        place.cell.verdict.reason
        for place in table.places()
        if place.cell.verdict and place.cell.verdict.outcome is VerdictKind.NOT_COMPARABLE
    }
    assert reason == "other images than the paper's: FFHQ: 9,000 test images are used, of 10,000"


# Runs ----------------------------------------------------------------------------------------------------------------


def stored(store: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in store.glob("*/record.json")}


def test_a_suite_on_a_folder_is_trained_and_measured(
    folder: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers find the images by their content; values are of usable images alone, and no path is kept."""
    store = tmp_path / "runs"
    words = ["--set", f"data={folder}", "--set", "metrics=[psnr]", "--set", "table.columns=[latent, psnr]"]
    only = ["--only", "plain"]
    assert app.run_words(["run", str(suite), *words, *only, "--store", str(store)]) == 0
    [content] = stored(store).values()
    assert content["values"]["clean"]["psnr"]["images"] == 4
    assert content["run"]["dataset"]["args"]["folder"] is None
    assert str(tmp_path) not in json.dumps(content)
    shown = capsys.readouterr().out
    assert "1 of 5 test images cannot be used and are left out: 00.png (empty)." in " ".join(shown.split())


@pytest.mark.integration
def test_data_that_is_not_there_stops_a_run_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A suite without its data trains nothing, and the error says where to put the data."""
    small = ["--set", "backbone.vqgan.width=32", "--only", "VQGAN"]
    code = app.run_words(["run", "ffhq", *small, "--store", str(tmp_path / "runs")])
    said = " ".join(capsys.readouterr().err.split())
    assert code == 1
    assert "FFHQ is not on this machine: set the argument `folder`, or put it as ffhq or FFHQ" in said
    assert "Traceback" not in said
    assert stored(tmp_path / "runs") == {}


@pytest.mark.slow
def test_all_systems_of_photos_quick_are_trained_and_measured(tmp_path: Path, folder: Path) -> None:
    """Each of the seven systems runs end to end on a folder: generator, discriminator, second phase, all metrics."""
    text = find_suite("photos_quick").read_text(encoding="utf-8")
    for long, short in (("steps: 80", "steps: 2"), ("steps: 60", "steps: 2"), ("refine_steps: 20", "refine_steps: 1")):
        assert long in text
        text = text.replace(long, short)
    for late in ("start: 40", "warmup: 10"):
        text = text.replace(late, late.split()[0] + " 1")
    path = tmp_path / "short.yaml"
    path.write_text(text, encoding="utf-8")
    store = tmp_path / "runs"
    assert app.run_words(["run", str(path), "--set", f"data={folder}", "--store", str(store)]) == 0
    records = stored(store)
    assert len(records) == 7
    for content in records.values():
        values = content["values"]["clean"]
        assert {name: value["images"] for name, value in values.items()} == dict.fromkeys(values, 4)
        assert all(isinstance(value["value"], float) for value in values.values())


@pytest.mark.parametrize(
    "args", ["data: pics\ndatasets: [{photos: {size: 32}}]", "datasets: [{photos: {folder: pics, size: 32}}]"]
)
def test_a_folder_beside_the_suite_is_found_from_anywhere(
    args: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A relative folder is one beside the file, else one in the current folder; the keys are the same from anywhere."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    images = home / "pics"
    images.mkdir(parents=True)
    for number in range(100):
        (images / f"{number}.png").write_bytes(noise(number))
    (home / "mine.yaml").write_text(TEXT.replace("datasets: [{photos: {size: 32, damaged: skip}}]", args))
    monkeypatch.chdir(home)
    keys = [run.key for run in loading.load("mine.yaml", []).runs()]
    monkeypatch.chdir(elsewhere)
    assert [run.key for run in loading.load("../home/mine.yaml", []).runs()] == keys
    images.rename(elsewhere / "pics")
    assert [run.key for run in loading.load("../home/mine.yaml", []).runs()] == keys
    monkeypatch.chdir(tmp_path)
    assert vqbench("plan", "home/mine.yaml") == 2
    assert "beside the suite's file or in the current folder" in capsys.readouterr().err
