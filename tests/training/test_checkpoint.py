"""The interval between checkpoints."""

from __future__ import annotations

import math

import pytest

from vqbench.errors import UsageError
from vqbench.system import environment


@pytest.mark.parametrize("value", ["x", "nan", "-1", ""])
def test_a_wrong_time_between_checkpoints_is_one_sentence(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """What is no number of seconds is named with its variable, and what to do."""
    monkeypatch.setenv(environment.CHECKPOINT_EVERY, value)
    with pytest.raises(UsageError) as raised:
        environment.checkpoint_interval()
    assert (
        str(raised.value) == f"{environment.CHECKPOINT_EVERY}={value}: not a number of seconds; unset it or write one"
    )


def test_the_interval_is_read_when_a_training_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set after import counts; without one, it is 15 seconds."""
    monkeypatch.setenv(environment.CHECKPOINT_EVERY, "inf")
    assert environment.checkpoint_interval() == math.inf
    monkeypatch.delenv(environment.CHECKPOINT_EVERY)
    assert environment.checkpoint_interval() == 15
