"""Every option with a path reports an unusable path in one sentence, with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqbench.cli.app import run_words
from vqbench.errors import LONGEST, UsageError
from vqbench.system.paths import path_of

LONG = "a" * 300
PHOTOS = """\
name: ph
train: {clean: {epochs: 1, batch_size: 4}}
measure: [clean]
datasets: [{photos: {size: 32}}]
backbone: conv
codebook: {num_codes: 16, dim: 16}
quantizers: [vq]
metrics: [l1]
"""

COMMANDS = [
    ("plan", "ph.yaml", "--store", "PATH"),
    ("plan", "ph.yaml", "--results", "PATH"),
    ("plan", "ph.yaml", "--plugin", "PATH"),
    ("plan", "ph.yaml", "--set", "data=PATH"),
    ("plan", "ph.yaml", "--set", "datasets=[{photos: {folder: 'PATH'}}]"),
    ("plan", "PATH"),
    ("status", "ph.yaml", "--store", "PATH"),
    ("table", "ph.yaml", "-o", "PATH"),
    ("run", "ph.yaml", "--store", "PATH", "-q"),
    ("publish", "ph.yaml", "--results", "PATH"),
    ("verify", "PATH"),
    ("merge", ".", "PATH"),
    ("merge", ".", "docs", "-o", "PATH"),
    ("verify", ".", "--document", "PATH"),
    ("clean", "ph.yaml", "--store", "PATH"),
    ("explain", "abc", "--store", "PATH"),
    ("list", "quantizers", "--plugin", "PATH"),
    ("info", "quantizer", "vq", "--plugin", "PATH"),
    ("check", "PATH.py"),
    ("sample", "abc", "--store", "PATH"),
    ("sample", "abc", "-o", "PATH"),
    ("encode", "abc", "PATH"),
    ("decode", "abc", "PATH"),
    ("export", "abc", "-o", "PATH"),
    ("report", "ph.yaml", "-o", "PATH"),
    ("report", "ph.yaml", "--store", "PATH"),
    ("diff", "PATH", "."),
    ("profile", "vq", "-o", "PATH"),
    ("profile", "--show", "PATH"),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a suite, a loop of links and a file in the place of a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    Path("ph.yaml").write_text(PHOTOS)
    Path("loop").symlink_to("pool")
    Path("pool").symlink_to("loop")
    Path("file").write_text("")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "path", [LONG, "~nobody-of-that-name/x", "loop/x", "file/x"], ids=["long", "user", "loop", "file"]
)
def test_an_odd_path_is_one_sentence(command: tuple[str, ...], path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name too long, an unknown user, a loop of links and a file as a folder are wrong usage wherever given."""
    assert run_words([word.replace("PATH", path) for word in command]) == 2
    said = capsys.readouterr().err
    assert "fault of vqbench" not in said
    assert len(said.splitlines()) == 1
    assert len(said) <= LONGEST + len("vqbench: \n")


@pytest.mark.parametrize("variable", ["VQBENCH_CACHE", "VQBENCH_DATA"])
def test_an_odd_path_in_the_environment(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders that the environment names are no exception."""
    monkeypatch.setenv(variable, "~nobody-of-that-name")
    assert run_words(["plan", "ph.yaml"]) == 2
    assert "no such user" in capsys.readouterr().err


def test_a_missing_folder_of_images_names_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing image folder is an error of the suite: exit code 2, with file, line and key."""
    Path("ph.yaml").write_text(PHOTOS.replace("size: 32", "size: 32, folder: gone"))
    assert run_words(["plan", "ph.yaml"]) == 2
    assert "ph.yaml:4:32: datasets.0.photos.folder: gone: no such folder" in capsys.readouterr().err
    assert run_words(["plan", "ph.yaml", "--set", "datasets=[photos]", "--set", "data=gone"]) == 2
    assert "--set data=gone: data: gone: no such folder" in capsys.readouterr().err


def test_a_sound_path_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Existing paths, paths to create, and the user's home folder are accepted."""
    monkeypatch.setenv("HOME", "/home/of/mine")
    assert path_of("file") == Path("file")
    assert path_of("not/yet") == Path("not/yet")
    assert path_of("~/x") == Path("/home/of/mine/x")
    with pytest.raises(UsageError, match="null"):
        path_of("a\0b")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "ph.yaml", "--devices", "1000000"), "1,000,000 processes"),
        (("run", "ph.yaml", "--jobs", "1000000"), "1,000,000 processes"),
        (("run", "ph.yaml", "--jobs", "1000", "--devices", "1000"), "1,000,000 processes"),
        (("run", "ph.yaml", "--time-limit", "99999999999999999999h"), "no length of time"),
        (("run", "ph.yaml", "--timeout", "²s"), "no length of time"),
        (("run", "ph.yaml", "--executor", "ray", "--gpus-per-run", "inf"), "--gpus-per-run"),
        (("plan", "ph.yaml", "--epochs", "99999999999"), "--epochs"),
        (("plan", "ph.yaml", "--subset", "0"), "--subset"),
        (("plan", "ph.yaml", "--seeds", "99999999999"), "seeds.0"),
        (("plan", "ph.yaml", "--seeds", "-1"), "seeds.0"),
        (("plan", "ph.yaml", "--cost", "--jobs", "99999999"), "--jobs"),
        (("plan", "ph.yaml", "--set", "quantizers.²=1"), "quantizers has no '²'"),
        (("plan", "ph.yaml", "--set", f"quantizers.{'9' * 5000}.vq=1"), "quantizers has no"),
        (("plan", "ph.yaml", "--set", "backbone={vqgan: {multipliers: 1x²}}"), "must read like"),
        (("plan", "ph.yaml", "--set", f"backbone={{vqgan: {{multipliers: 1x{'9' * 5000}}}}}"), "must read like"),
        (("sample", "abc", "-n", "99999999"), "--count"),
        (("sample", "abc", "--eta", "nan"), "eta"),
        (("sample", "abc", "--temperature", "nan"), "temperature"),
        (("profile", "vq", "--size", "1,2,²"), "--size"),
        (("profile", "vq", "--size", f"1,2,{'9' * 5000}"), "--size"),
        (("check", "vq", "--num-codes", "99999999999"), "--num-codes"),
        (("check", "vq", "--dim", "0"), "--dim"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_a_number_out_of_range_is_one_sentence(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of the command line are bounded, by the machine where processes would be started."""
    monkeypatch.setattr("vqbench.execution.suite_runner.run_suites", None)  # what starts them
    assert run_words(list(words)) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "fault of vqbench" not in message
    assert len(message) <= LONGEST + len("vqbench: \n")
