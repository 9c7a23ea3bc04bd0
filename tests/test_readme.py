"""The documents: every figure is the output of the command beside it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_FIGURES = [path for path in DOCUMENTS if "<!-- $ " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("document", WITH_FIGURES, ids=lambda path: str(path.relative_to(ROOT)))
def test_figures_are_what_their_commands_print(document: Path) -> None:
    """Regenerating the tables of a document from the published records changes no byte of it."""
    subprocess.run([sys.executable, ROOT / "tools" / "readme.py", "--check", document], check=True)


def test_the_readme_is_short_and_begins_with_two_commands() -> None:
    """At most 150 lines, of which the first two commands install and run, and test."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[:2] == [
        "python -m pip install . && vqbench run suites/quick.yaml\n",
        "python -m pip install tox && tox\n",
    ]
    assert "<!-- $ vqbench table tuned_fashion" in text


# Print which commands of a list import torch. Each runs in a fork of a process that has imported what the first needs.
IMPORTING = """
import contextlib, io, json, os, sys
from vqbench.cli import app

def needs_torch(words):
    with contextlib.redirect_stdout(io.StringIO()):
        assert app.run_words(words) == 0, words
    return "torch" in sys.modules

commands = json.load(sys.stdin)
assert not needs_torch(commands[0]), commands[0]
heavy = []
for words in commands[1:]:
    if not (child := os.fork()):
        os._exit(3 if needs_torch(words) else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 3), words
    heavy += [words] * (code == 3)
print(json.dumps(heavy))
"""


def test_published_tables_need_no_torch(tmp_path: Path) -> None:
    """The published resolved suites are current, so their tables need only the records and no torch."""
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    commands = [shlex.split(words) for words in re.findall(r"<!-- \$ vqbench (table .*?) -->", text)]
    tables = [words for words in commands if not {"--bd-rate", "--differences", "--rank-correlation"} & set(words)]
    env = {**os.environ, "VQBENCH_CACHE": str(tmp_path)}  # without plans of earlier calls
    script = [sys.executable, "-c", IMPORTING]
    done = subprocess.run(
        script, cwd=ROOT, env=env, input=json.dumps(tables), stdout=subprocess.PIPE, text=True, check=True
    )
    heavy = json.loads(done.stdout)  # stale, or nothing is published
    suites = sorted(path.stem for path in (ROOT / "results" / "suites").glob("*.json"))
    assert len(tables) - len(heavy) == len(suites), f"stale, or without a table: {suites}; torch was needed for {heavy}"


def test_a_stale_figure_is_noticed(tmp_path: Path) -> None:
    """A figure changed by hand is detected, and the tool says how to fix it."""
    stale = tmp_path / "stale.md"
    stale.write_text((ROOT / "README.md").read_text().replace("p (Holm)", "p (Hulm)"))
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "readme.py", "--check", tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "stale.md; run python tools/readme.py" in result.stderr


@pytest.mark.parametrize(("page", "count"), [("explanation/guarantees.md", 50), ("trust/comparisons.md", 10)])
def test_promises_name_tests_that_exist(page: str, count: int) -> None:
    """Every test and test file that a page names as a proof exists."""
    files: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] = files.get(path.name, "") + path.read_text()
    tests = {name for text in files.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    named = re.findall(r"`(?:(test_\w+\.py))?(?:::)?(test_\w+)?`", (ROOT / "docs" / page).read_text())
    assert len([pair for pair in named if any(pair)]) >= count
    for file, test in named:
        assert not file or file in files, file
        assert not test or test in tests, test
        assert not (file and test) or f"def {test}(" in files[file], f"{file}::{test}"
