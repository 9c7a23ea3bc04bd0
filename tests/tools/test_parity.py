"""The comparison with clones of the authors' code: it agrees with equal code, and finds a planted deviation."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tools import parity

pytestmark = pytest.mark.integration

CLONES = Path(__file__).parent / "clones"  # plain code of our own in the layout of the clones


def clone(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(CLONES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")))


def compared(folder: Path) -> int:
    return parity.main(["--reference", str(folder), "--steps", "3"])


@pytest.mark.parametrize("name", ["cvq", "sqvae"])
def test_equal_code_agrees(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against a reference of the same method, all quantities agree, and the exit code is 0."""
    modules = set(sys.modules)
    assert compared(clone(name, tmp_path)) == 0
    out = capsys.readouterr().out
    assert "Agrees: no difference above 1e-09." in out
    assert "gradient of codebook" in out
    assert not {"quantise", "modules", "quantizer", "model"} & (set(sys.modules) - modules)


@pytest.mark.parametrize(
    ("name", "file", "line", "planted"),
    [
        ("cvq", "quantise.py", "self.beta * ((z_q", "(self.beta + 1e-6) * ((z_q"),
        ("cvq", "quantise.py", "/ 0.07", "/ (0.07 + 1e-6)"),
        ("cvq", "quantise.py", "- 1e-3)", "- 1e-3 - 1e-6)"),
        ("cvq", "quantise.py", ".mul_(0.99)", ".mul_(0.99 + 1e-6)"),
        ("cvq", "modules.py", "return self._decoder(z_q)", "return self._decoder(z_q) * (1 + 1e-6)"),
        ("sqvae", "vision/quantizer.py", "0.5 / variance", "0.5 / variance + 1e-6"),
        ("sqvae", "vision/quantizer.py", "+ 1e-10) + 1e-10)", "+ 1e-6) + 1e-10)"),
        ("sqvae", "vision/model.py", "/ 2 + latent", "/ 2 + latent * (1 + 1e-6)"),
    ],
)
def test_a_planted_deviation_is_found(
    name: str, file: str, line: str, planted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reference that deviates by 1e-6 in one place fails the comparison."""
    path = clone(name, tmp_path) / file
    text = path.read_text()
    assert text.count(line) == 1
    path.write_text(text.replace(line, planted))
    assert compared(tmp_path / name) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_an_unknown_layout_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is no clone is refused with the files that it should have."""
    assert compared(tmp_path) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "quantise.py and modules.py" in error
    assert "vision/quantizer.py" in error


def test_a_missing_package_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A clone that imports a package which is not installed is refused with the name of the package."""
    path = clone("cvq", tmp_path) / "quantise.py"
    path.write_text(path.read_text() + "\nimport no_such_package\n")
    assert compared(tmp_path / "cvq") == 2
    assert "no_such_package" in capsys.readouterr().err
