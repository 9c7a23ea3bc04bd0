"""Completion: a shell that is really asked gets names of suites, rows, runs, plugins and options, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench, write
from vqbench.cli.completion import SHELLS

BASH = """
eval "$(vqbench completion bash)"
complete -p vqbench
COMP_WORDS=(vqbench "$@")
COMP_CWORD=$#
_vqbench_completion vqbench
printf '%s\\n' "${COMPREPLY[@]}"
"""


def proposed(words: str, folder: Path, shell: str = "bash") -> list[str]:
    """What the completion of ``shell`` proposes for the last of ``words``."""
    given = words.split(" ")
    asked = {
        "_VQBENCH_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(given) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    command = [sys.executable, "-X", "importtime", "-m", "vqbench"]
    result = subprocess.run(
        command, cwd=folder, env=os.environ | asked, capture_output=True, text=True, check=True, timeout=60
    )
    imported = [line.split("|")[-1].strip() for line in result.stderr.splitlines()]
    assert "torch" not in imported
    return result.stdout.split("\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a suite and one finished run."""
    write(tmp_path, "vq, {vq_ema: {}, label: my_label}")
    (tmp_path / "runs" / "mnist-vq-0123456789abcdef").mkdir(parents=True)
    (tmp_path / "runs" / "mnist-vq-0123456789abcdef" / "record.json").write_text("{}")
    (tmp_path / "runs" / "mnist-cvq-unfinished").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("vqbench ta", ["table"]),
        ("vqbench table small_", ["small_datasets"]),
        ("vqbench run quick ti", ["tiny.yaml"]),
        ("vqbench run tiny.yaml --only my", ["my_label"]),
        ("vqbench status tiny.yaml --skip vq_", ["vq_ema"]),
        ("vqbench table quick --metrics ps", ["psnr"]),
        ("vqbench explain mn", ["mnist-vq-0123456789abcdef"]),
        ("vqbench explain 01", ["0123456789abcdef"]),
        ("vqbench info prot", ["protocol"]),
        ("vqbench info quantizer cvq_g", ["cvq_grouped"]),
        ("vqbench info protocol of", ["official"]),
        ("vqbench list ru", ["runs"]),
        ("vqbench profile lf", ["lfq"]),
        ("vqbench table quick --format mark", ["markdown"]),
        ("vqbench run quick --test", ["--test-images"]),
        ("vqbench table no_such", [""]),
    ],
)
def test_names_are_proposed(words: str, found: list[str], folder: Path) -> None:
    """What begins as written is proposed, of the kind that fits the place."""
    assert [word for word in proposed(words, folder) if word or found == [""]][: len(found)] == found


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_an_answer_in_its_form(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """zsh gets a command to evaluate, bash and fish a name a line; each script names its shell's variable."""
    answer = "\n".join(proposed("vqbench table quic", folder, shell)).strip()
    assert answer == ("_arguments '*: :((\"quick\"))'" if shell == "zsh" else "quick")
    assert vqbench("completion", shell) == 0
    assert f"_VQBENCH_COMPLETE=complete_{shell}" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes(folder: Path) -> None:
    """After the documented line, bash has a completion for vqbench, whose function fills COMPREPLY."""
    (folder / "vqbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vqbench "$@"\n')
    (folder / "vqbench").chmod(0o755)
    env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    script = ["bash", "--norc", "-c", BASH, "bash"]
    for words, found in ((["run", "tiny.yaml", "--only", "my"], ["my_label"]), (["rep"], ["report"])):
        shown = subprocess.run(
            [*script, *words], cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60
        ).stdout.splitlines()
        assert shown == ["complete -o default -F _vqbench_completion vqbench", *found]


def test_another_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell without a script is wrong usage."""
    assert vqbench("completion", "tcsh") == 2
    assert "known: bash, zsh, fish" in capsys.readouterr().err
