"""The command line: every mistake is one sentence and an exit code, every command is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench
from vqbench.cli import app, commands
from vqbench.errors import UsageError
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.record import Record
from vqbench.store.results import ResultStore


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("frobnicate",), "frobnicate"),
        (("run", "quikc"), "quick"),
        (("run", "quick", "--set", "train.clean.epoch=1"), "epochs"),
        (("run", "quick", "--metrics", "psnrr"), "psnr"),
        (("run", "quick", "--plugin", "nowhere.py"), "nowhere.py"),
        (("list", "quantisers"), "quantizers"),
        (("info", "quantizer", "vqq"), "vq"),
        (("info", "protocol", "oficial"), "official"),
        (("table", "quick", "--format", "html"), "latex"),
    ],
)
def test_wrong_usage_is_one_sentence(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake on the command line gives exit code 2 and one line on stderr with a valid alternative."""
    monkeypatch.chdir(tmp_path)
    assert vqbench(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "runs").exists(), "nothing was started"


def test_debug_shows_where(tmp_path: Path) -> None:
    """--debug, at any position, shows the original exception instead of the sentence."""
    for words in (("--debug", "run", "quikc"), ("run", "quikc", "--debug")):
        with pytest.raises(UsageError, match="quikc"):
            vqbench(*words)


def test_results_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that cannot be a results folder is named and not modified."""
    (tmp_path / "runs").write_text("mine")
    assert vqbench("run", "quick", "--store", tmp_path / "runs") == 1
    assert "not a folder" in capsys.readouterr().err
    assert (tmp_path / "runs").read_text() == "mine"


def test_every_command_and_exit_code_is_documented() -> None:
    """The page of commands lists all of them and all exit codes, and every command has a help text."""
    page = (Path(__file__).parents[2] / "docs" / "start" / "commands.md").read_text()
    for code in commands.EXIT_CODES:
        assert f"\n| {code} |" in page
    for command in commands.app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert f"`{name}" in page, name
        assert command.callback.__doc__


def test_a_run_of_another_version_is_not_done(tmp_path: Path) -> None:
    """Raising a plugin's VERSION names another run: its old record does not count."""
    store = ResultStore(tmp_path)
    run = RunSpec(*(PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "mnist", "vq")), seed=1)
    store.write(Record(run, {}, {"seconds": 1.0}))
    newer = RunSpec(run.recipe, run.backbone, run.dataset, PluginSpec("vq", 2, {}), seed=1)
    assert run in store
    assert newer not in store


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`vqbench` alone prints the help as `--help` does, and exits with 0."""
    assert app.run_words([]) == 0
    alone = capsys.readouterr().out
    assert app.run_words(["--help"]) == 0
    assert alone == capsys.readouterr().out
    assert "Exit codes:" in alone
