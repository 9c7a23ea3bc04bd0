"""The interval between checkpoints."""

from __future__ import annotations

import math

import pytest

from vqbench.errors import UsageError
from vqbench.training import checkpoint


@pytest.mark.parametrize("value", ["x", "nan", "-1", ""])
def test_a_wrong_time_between_checkpoints_is_one_sentence(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """What is no number of seconds is named with its variable, and what to do."""
    monkeypatch.setenv(checkpoint.VARIABLE, value)
    with pytest.raises(UsageError) as raised:
        checkpoint.checkpoint_interval()
    assert str(raised.value) == f"{checkpoint.VARIABLE}={value}: not a number of seconds; unset it or write one"


def test_the_interval_is_read_when_a_training_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set after import counts; without one, it is 15 seconds."""
    monkeypatch.setenv(checkpoint.VARIABLE, "inf")
    assert checkpoint.checkpoint_interval() == math.inf
    monkeypatch.delenv(checkpoint.VARIABLE)
    assert checkpoint.checkpoint_interval() == 15
