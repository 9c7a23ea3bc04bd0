"""`vqbench verify`: figures in documents have their records; summary, JSON and exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_json import require
from tests.support.tiny_suite import vqbench

ROOT = Path(__file__).parents[2]
COMMAND = "vqbench table quick --only vq --store results --format csv"


@pytest.fixture
def checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some published results and a README that prints a table of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    shutil.copytree(ROOT / "results" / "suites", tmp_path / "results" / "suites")
    for folder in (ROOT / "results").glob("fashion_mnist_5k-vq-????????????????"):
        shutil.copytree(folder, tmp_path / "results" / folder.name)
    assert vqbench(*COMMAND.split()[1:]) == 0
    table = capsys.readouterr().out
    (tmp_path / "README.md").write_text(f"# Ours\n\n<!-- $ {COMMAND} -->\n{table}<!-- end -->\n")
    return tmp_path


def test_figures_with_their_records_are_sound(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A document that prints what its command prints is sound, also seen from another folder."""
    assert vqbench("verify") == 0
    assert "1 region of figures in documents: all sound." in " ".join(capsys.readouterr().out.split())
    (checkout / "other").mkdir()
    assert vqbench("verify", checkout / "results", "--document", checkout / "README.md", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["figures"], data["sound"], data["problems"]) == (1, True, [])


def test_a_figure_that_was_changed_is_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A digit changed in a document is a problem with its line, what is printed and what the records give."""
    readme = checkout / "README.md"
    lines = readme.read_text().splitlines()
    number = next(at for at, line in enumerate(lines) if line.startswith("Fashion-MNIST") or ",vq," in line)
    lines[number] = lines[number].replace("vq", "vq9", 1)
    readme.write_text("\n".join(lines) + "\n")
    assert vqbench("verify") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert f"README.md:{number + 1}: " in out
    assert f"but `{COMMAND}` gives" in out


def test_a_figure_without_its_record_is_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the record behind a figure is gone, the figure is a problem."""
    shutil.rmtree(checkout / "results" / "fashion_mnist_5k-vq-3fac6d987bf4564a")
    for folder in (checkout / "results").glob("fashion_mnist_5k-*"):
        shutil.rmtree(folder)
    assert vqbench("verify", "--json") == 1
    data = json.loads(capsys.readouterr().out)
    require("verify", data)
    assert data["records"] == 0
    assert [problem["path"].partition(":")[0].endswith("README.md") for problem in data["problems"]] == [True]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("vqbench clean quick --store results --yes", "more than print"),
        ("vqbench table quick --store results -o table.txt", "more than print"),
        ("vqbench table quick --colour", "--colour"),
        ("vqbench table 'quick", "not a command line"),
        ("vqbench tabel quick", "no command of this version"),
    ],
)
def test_only_commands_that_print_are_run(
    command: str, words: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command of a document that writes, deletes or is unknown is a problem and is not run."""
    (checkout / "README.md").write_text(f"<!-- $ {command} -->\n1\n<!-- end -->\n")
    assert vqbench("verify") == 1
    assert words in " ".join(capsys.readouterr().out.split())
    assert not (checkout / "table.txt").exists()


def test_figures_of_another_folder_are_left_alone(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A document beside a store whose commands do not read it says nothing about that store."""
    shutil.copytree(checkout / "results", checkout / "mine")
    command = "table quick --store results -->\n1\n<!-- end -->\n"
    (checkout / "README.md").write_text(f"<!-- $ vqbench {command}<!-- $ vqbench profile vq -->\n1\n<!-- end -->\n")
    assert vqbench("verify", "mine", "--json") == 0
    assert json.loads(capsys.readouterr().out)["figures"] == 0


def test_a_folder_that_does_not_exist_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder or document that does not exist is one sentence and exit code 2."""
    assert vqbench("verify", tmp_path / "none") == 2
    assert "does not exist" in capsys.readouterr().err
    assert vqbench("verify", tmp_path, "--document", tmp_path / "none.md") == 2


def test_a_folder_without_results_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in which nothing can be checked, such as one of images, is not called sound."""
    (tmp_path / "photo.png").write_bytes(b"")
    assert vqbench("verify", tmp_path) == 2
    shown = capsys.readouterr()
    assert "no run, external row or resolved suite is in it" in shown.err
    assert shown.out == ""


def test_figures_without_an_end_are_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures that no comment ends would be compared with nothing: they are a problem with their line."""
    (checkout / "README.md").write_text(f"# Ours\n\n<!-- $ {COMMAND} -->\n1\n")
    assert vqbench("verify") == 1
    assert "README.md:3: these figures have no <!-- end --> of their own" in " ".join(capsys.readouterr().out.split())


def test_ctrl_c_while_figures_are_compared(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a command of a document stops verify, and is no problem of that document."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vqbench.cli.table.table_text", interrupted)
    assert vqbench("verify") == 130
