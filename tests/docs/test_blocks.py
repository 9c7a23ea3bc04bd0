"""The documents: their Python runs, and their command lines are commands of this version."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml

import vqbench
from tests.docs.blocks import ROOT, Block, blocks, documents
from vqbench.cli.commands import app

pytestmark = pytest.mark.integration

LANGUAGES = {"", "text", "sh", "python", "yaml", "json", "toml", "bibtex", "{toctree}", "{include}"}
PYTHON_LANGUAGES = {"{eval-rst}", "{autofunction}", "{automodule}", "{autoclass}"}  # of reference pages
READERS: dict[str, Callable[[str], object]] = {"yaml": yaml.safe_load, "json": json.loads, "toml": tomllib.loads}

# Blocks share one namespace, and an error names the line of the document.
RUN = """
import json, sys
path, blocks = json.load(sys.stdin)
namespace = {"__name__": "__main__"}
for line, code in blocks:
    exec(compile("\\n" * (line - 1) + code, path, "exec"), namespace)
"""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def with_python() -> list[Path]:
    """The documents whose Python is not run for their figures, whole pages at once, by tests/test_readme.py."""
    others = [path for path in documents() if f"page_output.py {named(path)} " not in path.read_text(encoding="utf-8")]
    return [path for path in others if any(block.reason is None for block in blocks(path, "python"))]


@pytest.mark.parametrize("path", with_python(), ids=named)
def test_python_blocks_run(path: Path, tmp_path: Path) -> None:
    """The Python blocks of a document run in order, in one namespace and an empty folder."""
    text = path.read_text(encoding="utf-8")
    for folder in ("results", "suites"):  # a page about published records is read in a checkout
        if re.search(rf"[\"'/ ]{folder}\b", text):
            shutil.copytree(ROOT / folder, tmp_path / folder)
    run = [(block.line, block.code) for block in blocks(path, "python") if block.reason is None]
    result = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([str(path), run]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr


def parse(words: list[str]) -> None:
    """Parse a command line of vqbench without running it; typer raises what is wrong."""
    command = typer.main.get_command(app)
    context = command.make_context("vqbench", list(words))
    rest = [*context._protected_args, *context.args]
    if rest:
        name, found, rest = command.resolve_command(context, rest)
        found.make_context(name, rest, parent=context)


def commands(block: Block) -> list[list[str]]:
    """The simple commands of a block of shell, each as its words."""
    found: list[list[str]] = []
    for line in block.code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True  # commas and brackets belong to words
        found.append([])
        for word in lexer:
            if set(word) <= set(";&|"):
                found.append([])
            else:
                found[-1].append(word)
    return [words for words in found if words]


def check(words: list[str], extras: set[str]) -> None:
    """Check one command: what vqbench parses, files that exist, extras that are declared."""
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):  # settings of the environment
        words = words[1:]
    words = words[: next((index for index, word in enumerate(words) if set(word) <= set("<>")), None)]
    for name in re.findall(r"vqbench\[([\w,]+)\]|\.\[([\w,]+)\]", " ".join(words)):
        assert set("".join(name).split(",")) <= extras, words
    if words[0] == "vqbench":
        parse(words[1:])
    elif "-m" in words and words[words.index("-m") + 1] == "vqbench":
        parse(words[words.index("-m") + 2 :])
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).exists(), words


@pytest.mark.parametrize("path", [path for path in documents() if blocks(path, "sh")], ids=named)
def test_command_lines_parse(path: Path) -> None:
    """Every command line of a document is one of this version: command, options, extras, scripts."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    wrong = []
    for block in blocks(path, "sh"):
        for words in [] if block.reason else commands(block):
            try:
                check(list(words), extras)
            except Exception as error:
                message = error.format_message() if hasattr(error, "format_message") else repr(error)
                wrong.append(f"line {block.line}: {shlex.join(words)}: {message}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in documents() if blocks(path)], ids=named)
def test_other_blocks_are_what_they_say(path: Path) -> None:
    """Blocks name a language that is known here; YAML, JSON and TOML can be read, and suites are suites."""
    for block in blocks(path):
        assert block.language in LANGUAGES | PYTHON_LANGUAGES, f"line {block.line}: ```{block.language}"
        if block.reason is None and block.language in READERS:
            content = READERS[block.language](block.code)
            assert content, f"line {block.line}"
            if isinstance(content, dict) and "quantizers" in content:
                assert vqbench.load_suite(content).rows, f"line {block.line}"
