"""What launchers of ranks set in the environment, and ranks that wait for one another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from vqbench.distributed.launching import Launched, launched
from vqbench.errors import UsageError

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def test_what_torchrun_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound variables are taken as they are; one process alone, or a variable too few, is no launch."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert launched() == Launched(1, 4, 1, 2)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    assert launched() is None
    monkeypatch.delenv("MASTER_PORT")
    assert launched() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("RANK", value) for value in ("x", "", "-1", "4", "1.0", "²", "9" * 400)),
        *(("WORLD_SIZE", value) for value in ("garbage", "0", "1")),
        *(("LOCAL_RANK", value) for value in ("2", "None")),
        *(("LOCAL_WORLD_SIZE", value) for value in ("5", "1", "all")),
    ],
)
def test_garbage_of_a_launcher_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A rank that is no number, or not below its size, is wrong usage that names the variables."""
    for each, sound in TORCHRUN.items():
        monkeypatch.setenv(each, sound)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name}=.*unset these variables") as caught:
        launched()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"])
def test_a_rank_outside_of_a_launch_is_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A single variable of a launcher, without the others, is no launch, whatever its value."""
    for each in ("MASTER_ADDR", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(each, raising=False)
    for value in ("x", "", "1.0", "1"):
        monkeypatch.setenv(name, value)
        assert launched() is None


def test_a_rank_whose_others_never_come_ends_by_a_signal() -> None:
    """SIGTERM ends a process that waits for other ranks, although torch does not look at signals while it waits."""
    code = "import signal; signal.signal(signal.SIGTERM, lambda *_: None); from vqbench.distributed import group; "
    code += "print('meeting', flush=True); group.join(0, 2, 0, 2, False)"
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, **place}) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"meeting\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=2)  # it meets
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(timeout=60) == -signal.SIGTERM
