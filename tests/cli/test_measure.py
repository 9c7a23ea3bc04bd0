"""`vqbench measure`: the table in every format, JSON, files, and words that are wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import vqbench
from tests.cli.test_json import require
from tests.measuring.conftest import pairs
from tests.support.tiny_suite import vqbench as command

__all__ = ["pairs"]  # a fixture
Pairs = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What `vqbench measure` prints."""
    assert command("measure", *words, "--device", "cpu") == 0
    return capsys.readouterr().out


def test_formats(pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    """Text, Markdown, LaTeX and CSV have the same values, of both protocols; CSV has all digits."""
    both = (*pairs, "--protocol", "official", "--protocol", "clean", "--label", "JPEG 30")
    expected = vqbench.evaluate(*pairs, protocol=["official", "clean"])
    text = printed(capsys, *both)
    assert text.startswith("JPEG 30: 24 images\n\nmetric       official    clean  better\n")
    assert max(map(len, text.splitlines())) <= 80
    cells = [f"{value:.{digits}f}" for value, digits in zip(expected.values.value, expected.values.digits, strict=True)]
    for style in ("text", "markdown", "latex"):
        shown = printed(capsys, *both, "--format", style)
        assert all(cell in shown for cell in cells), style
    latex = printed(capsys, *pairs, "--format", "latex", "--label", "two\nlines")
    assert latex.startswith("% two lines: 24 images\n")
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *both, "--format", "csv"))))
    assert [float(row["value"]) for row in rows] == expected.values.value.tolist()
    assert {row["model"] for row in rows} == {"JPEG 30"}


def test_json(pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON keeps its schema, and says what was measured."""
    data: Any = json.loads(printed(capsys, *pairs, "--json"))
    require("measure", data)
    digest = data["originals"].pop("digest")
    assert len(digest) == 64
    assert digest != data["reconstructions"]["digest"]
    assert data["originals"] == {"path": str(pairs[0]), "kind": "folder", "images": 24}
    assert data["resumed_at"] == 0
    assert Path(data["per_image"]).read_text().startswith("protocol,image,name,l1,psnr,ssim\nclean,0,part0/photo.0,")
    again = json.loads(printed(capsys, *pairs, "--json"))
    assert again["originals"].pop("digest") == digest
    assert again == data


def test_a_file(pairs: Pairs, capsys: pytest.CaptureFixture[str]) -> None:
    """-o writes the table to a file, in a folder that it makes."""
    assert printed(capsys, *pairs, "-o", "out/table.md", "--format", "markdown") == ""
    assert "| PSNR (dB)" in Path("out/table.md").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--metrics", "fid"), "metric 'fid' is of generated images"),
        (("--metrics", "usage"), "metric 'usage' counts codes: give codes and"),
        (("--metrics", "l3"), "did you mean 'l1'?"),
        (("--protocol", "clear"), "did you mean 'clean'?"),
        (("--format", "html"), "unknown format 'html'"),
        (("--num-codes", "8"), "--num-codes without --codes"),
        (("--num-codes", "1"), "1 is not between 2 and"),
    ],
)
def test_wrong_words(pairs: Pairs, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake is one sentence on stderr, exit code 2, and leaves nothing behind."""
    assert command("measure", *pairs, *words) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("measured").exists()
