"""Check what a data set makes of damaged and missing files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vqbench.conformance.datasets.case import SPLITS, DatasetCase, first
from vqbench.conformance.outcome import Check, Fail, Skip
from vqbench.errors import VqbenchError
from vqbench.system.files import MB

LARGEST = 50 * MB  # bytes of a folder that is copied, to damage the copy


def folder_given(case: DatasetCase) -> None:
    """Raise Skip for a data set without a small folder of files."""
    if not case.cls.on_disk:
        raise Skip("reads no folder of the user's (on_disk is False)")
    if case.folder is None:
        raise Skip("no folder is given; name one of a few images by --set folder=FOLDER")
    size = sum(path.stat().st_size for path in case.folder[1].rglob("*") if path.is_file())
    if size > LARGEST:
        raise Skip(f"the folder has {size / MB:,.0f} MB; give a smaller one, of at most {LARGEST / MB:,.0f} MB")


@contextmanager
def _copied(case: DatasetCase) -> Iterator[tuple[DatasetCase, Path]]:
    """Give the case of a copy of its folder, and the largest file in that copy."""
    assert case.folder
    name, folder = case.folder
    with tempfile.TemporaryDirectory(prefix="vqbench-check-") as scratch:
        copy = Path(scratch) / "images"
        shutil.copytree(folder, copy)
        largest = max((path for path in copy.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        yield replace(case, args={**case.args, name: str(copy)}), largest


def damaged_file_is_named(case: DatasetCase) -> None:
    """A truncated file is an error that names the file, not an image."""
    with _copied(case) as (copied, file):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        try:
            dataset = copied.build()
            for split in SPLITS:
                first(dataset.pixels(split))
        except VqbenchError as error:
            if file.name not in str(error):
                raise Fail(f"the error does not name {file.name}: {error}", "say which file cannot be read") from error
            return
        if not any(file.name in note for note in dataset.notes):
            raise Fail(
                f"the first half of {file.name} is read as if it were whole",
                "raise AssetError with the file's name where an image cannot be decoded to its end, or leave it out "
                "and say so in `notes`",
            )


def content_decides(case: DatasetCase) -> None:
    """Another content of the folder is another digest, the same one elsewhere not."""
    with _copied(case) as (copied, file):
        before = {split: case.build().digest(split) for split in SPLITS}
        if {split: copied.build().digest(split) for split in SPLITS} != before:
            raise Fail("a copy of the folder has another digest", "digest the bytes of files, not their paths or times")
        named = copied.cls.canonical_args(dict(copied.args))
        if named != case.cls.canonical_args(dict(case.args)):
            raise Fail("a copy of the folder is another run key", "name the content in canonical_args, not the place")
        file.unlink()
        copied.cls.refresh(dict(copied.args))
        if {split: copied.build().digest(split) for split in SPLITS} == before:
            raise Fail(f"without {file.name} the digests are the same", "digest all files of a split")


CHECKS = (
    Check(damaged_file_is_named, only_if=folder_given),
    Check(content_decides, only_if=folder_given),
)
