"""Each file is decoded once, and every change of a folder is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.image_folders import (
    SIZE,
    TEXT,
    noise,
    photos,
    pixels,
    ppm_noise,
    rewrite,
)
from tests.support.tiny_suite import vqbench
from vqbench import registry
from vqbench.assets import image_file
from vqbench.datasets import _index
from vqbench.errors import AssetError, UsageError
from vqbench.planning import loading, plan_file
from vqbench.planning.plan import Plan
from vqbench.store.results import ResultStore

pytestmark = pytest.mark.usefixtures("cache")  # a cache folder of the test's own


def test_a_file_changed_under_its_name_never_passes(folder: Path) -> None:
    """An image overwritten in place, which no listing shows, is detected when it is read; the error says what to do."""
    dataset = photos(folder)
    (folder / "train" / "05.png").write_bytes(noise(999))
    again = photos(folder)  # by the index that was kept
    for each in (dataset, again):
        with pytest.raises(AssetError, match=r"05\.png: its content has changed since .* start `vqbench run` again"):
            pixels(each, "train")


def test_every_file_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second scan of a folder decodes nothing; a scan after a file was added decodes only that file."""
    count = 0
    examined = image_file.examined

    def counted(data: bytes) -> image_file.Decoded:
        nonlocal count
        count += 1
        return examined(data)

    monkeypatch.setattr(_index.image_file, "examined", counted)
    photos(folder)
    assert count == 17
    photos(folder)
    assert count == 17
    (folder / "val" / "new.png").write_bytes(noise(77))
    assert photos(folder).counts["test"] == 6
    assert count == 18


def test_an_index_that_cannot_be_read_is_made_anew(folder: Path, cache: Path) -> None:
    """A truncated index in the cache only costs time."""
    wanted = photos(folder).content
    for path in (cache / "images").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert photos(folder).content == wanted


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_run_sees_images_that_were_rewritten_in_place(ppm_folder: Path, tmp_path: Path, keep_time: bool) -> None:
    """Changed content of an image changes the runs of `run`, even if its size and modification time are the same;
    `plan`, which compares only the times of folders, uses its cache until then."""
    suite, store = tmp_path / "suite.yaml", ResultStore(tmp_path / "runs")
    suite.write_text(f"{TEXT}data: {ppm_folder}\n")
    made = loading.load(suite, [store], refresh=True)
    plan_file.save(made, store)

    def keys(refresh: bool) -> list[str]:
        return [run.key for run in loading.load(suite, [store], refresh=refresh).runs()]

    before = keys(True)
    rewrite(ppm_folder / "test" / "03.ppm", ppm_noise(999), keep_time)
    assert keys(False) == before
    after = keys(True)
    assert after != before
    assert keys(False) == after
    rewrite(ppm_folder / "test" / "03.ppm", ppm_noise(103), keep_time)
    assert keys(True) == before


def test_run_asks_for_every_file(ppm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command `run` looks file by file, `table` and `status` do not."""
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"{TEXT}data: {ppm_folder}\n")
    asked: list[bool] = []

    def load(spec: object, variant: bool, stores: object, refresh: bool, *_: object) -> Plan:
        asked.append(refresh)
        raise UsageError("as far as this goes")

    monkeypatch.setattr(loading, "load_spec", load)
    (tmp_path / "runs").mkdir()
    for command in ("run", "table", "status", "plan"):
        assert vqbench(command, suite, "--store", tmp_path / "runs") == 2
    assert asked == [True, False, False, False]


def test_an_image_damaged_in_place_stops_the_next_run(ppm_folder: Path, tmp_path: Path) -> None:
    """A truncated image is reported by `run`, and its repair is detected at once."""
    suite, store = tmp_path / "suite.yaml", ResultStore(tmp_path / "runs")
    suite.write_text(f"{TEXT}data: {ppm_folder}\n")
    made = loading.load(suite, [store])
    plan_file.save(made, store)
    rewrite(ppm_folder / "train" / "05.ppm", ppm_noise(5)[:100])
    with pytest.raises(AssetError, match=r"1 of 12 training images cannot be used: 05\.ppm"):
        loading.load(suite, [store], refresh=True)
    assert loading.load(suite, [store]).runs() == made.runs()  # a table still shows what was measured
    rewrite(ppm_folder / "train" / "05.ppm", ppm_noise(5))
    assert photos(ppm_folder).content == made.runs()[0].dataset.args["content"]


def test_a_touched_file_is_not_decoded_again(ppm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new modification time with old content is read again, not decoded, and changes no key."""
    before = photos(ppm_folder).content
    os.utime(ppm_folder / "train" / "05.ppm", ns=(1, 1))
    monkeypatch.setattr(image_file, "examined", None)
    registry.refresh("photos", {"folder": str(ppm_folder), "size": SIZE})
    assert photos(ppm_folder).content == before
