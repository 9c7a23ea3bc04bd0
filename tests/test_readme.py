"""The documents: every figure is the output of the command beside it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("document", ["README.md", "results/README.md"])
def test_figures_are_what_their_commands_print(document: str) -> None:
    """Regenerating the tables of a document from the published records changes no byte of it."""
    assert "<!-- $ vqbench" in (ROOT / document).read_text()
    subprocess.run([sys.executable, ROOT / "tools" / "readme.py", "--check", ROOT / document], check=True)


def test_published_tables_need_no_torch() -> None:
    """The published resolved suites are current, so their tables need only the records and no torch."""
    commands = re.findall(r"<!-- \$ vqbench (table .*?) -->", (ROOT / "results" / "README.md").read_text())
    heavy = [command for command in commands if "torch" in imported(command)]  # stale, or nothing is published
    suites = sorted(path.stem for path in (ROOT / "results" / "suites").glob("*.json"))
    assert len(commands) - len(heavy) == len(suites), (
        f"stale, or without a table: {suites}; torch was needed for {heavy}"
    )


def imported(command: str) -> set[str]:
    """The modules that ``vqbench command`` imports."""
    words = ["-X", "importtime", "-m", "vqbench", *shlex.split(command)]
    log = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    return {line.split("|")[-1].strip() for line in log.splitlines()}


def test_a_stale_figure_is_noticed(tmp_path: Path) -> None:
    """A figure changed by hand is detected, and the tool says how to fix it."""
    stale = tmp_path / "stale.md"
    stale.write_text((ROOT / "README.md").read_text().replace("441", "440"))
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "readme.py", "--check", stale], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "differs from the output of its commands" in result.stderr


def test_promises_name_tests_that_exist() -> None:
    """Every test and test file that the README names as a proof exists."""
    files = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    tests = {name for text in files.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    named = re.findall(r"`(?:(test_\w+\.py))?(?:::)?(test_\w+)?`", (ROOT / "README.md").read_text())
    assert len(named) > 40
    for file, test in named:
        assert not file or file in files, file
        assert not test or test in tests, test
        assert not (file and test) or f"def {test}(" in files[file], f"{file}::{test}"


def test_python_blocks_run() -> None:
    """Every block of Python in the README runs as it stands."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    whole = [block for block in blocks if "class " not in block]  # plugins are tested as files
    assert whole
    for block in whole:
        subprocess.run([sys.executable, "-c", block], check=True)
