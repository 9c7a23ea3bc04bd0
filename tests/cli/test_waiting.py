"""Commands without training never wait forever: not for git, pipes, or locks of other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench, write
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.reporting.changes import states
from vqbench.store.results import ResultStore
from vqbench.system import provenance
from vqbench.system.output import write_text


def test_an_output_that_is_a_pipe_without_a_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`table -o PIPE` ends with 1 and a sentence if the pipe has no reader."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "runs").mkdir()
    assert vqbench("table", write(tmp_path, "vq"), "--store", tmp_path / "runs", "-o", tmp_path / "pipe") == 1
    assert "pipe: cannot be written (No such device or address)" in capsys.readouterr().err


def test_an_output_that_is_a_pipe_with_a_reader(tmp_path: Path) -> None:
    """A pipe with a reader gets a long text completely."""
    os.mkfifo(pipe := tmp_path / "pipe")
    counts = "import sys; print(open(sys.argv[1]).read().count('x'))"
    with subprocess.Popen([sys.executable, "-c", counts, pipe], stdout=subprocess.PIPE) as reader:
        with open(pipe, "w"):  # the pipe exists now
            write_text(pipe, "x" * 1_000_000)
        assert reader.communicate()[0] == b"1000000\n"


@pytest.fixture
def hanging_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A git that never answers, and a timeout of a tenth of a second."""
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.1)
    monkeypatch.setattr(states, "GIT_SECONDS", 0.1)
    provenance.commit.cache_clear()
    yield
    provenance.commit.cache_clear()


@pytest.mark.usefixtures("hanging_git")
def test_git_is_not_waited_for(tmp_path: Path) -> None:
    """A record goes without its commit, and `diff` says why it cannot look into the past."""
    assert provenance.commit() is None
    with pytest.raises(UsageError, match=r"git cannot be called .*timed out"), states.state("HEAD", tmp_path):
        pass


def test_status_does_not_wait_for_locks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that another process has locked is shown as running at once."""
    suite, store = write(tmp_path, "vq"), ResultStore(tmp_path / "runs")
    (run,) = loading.load(suite, [store]).runs()
    with store.lock(run) as held:
        assert held
        assert vqbench("status", suite, "--store", store.root) == 0
    assert "running" in capsys.readouterr().out
