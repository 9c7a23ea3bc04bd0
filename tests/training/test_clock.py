"""The interval between checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("value", ["x", "nan", "-1", ""])
def test_a_wrong_time_between_checkpoints_is_one_sentence(value: str) -> None:
    """What is no number of seconds is named with its variable, before anything is trained."""
    code = (
        "from vqbench.errors import VqbenchError\n"
        "from vqbench.training.clock import checkpoint_interval\n"
        "try: checkpoint_interval()\nexcept VqbenchError as e: print(e)"
    )
    environment = {**os.environ, "VQBENCH_CHECKPOINT_EVERY": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"VQBENCH_CHECKPOINT_EVERY={value}: not a number of seconds; unset it or write one\n"
