"""How many random inputs a property-based test tries."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

VARIABLE = "VQBENCH_SOAK"  # examples of each test; set by `tox -e soak`
DEFAULT = 100


def examples(default: int = DEFAULT, one_in: int = 1) -> Callable[[Any], Any]:
    """Decorate a test of random inputs, above ``@given``: it tries ``default`` of them, in `tox -e soak` 2,000.

    Every default run has the same inputs, every soak has new ones. ``one_in``: of so many inputs this test tries one,
    for inputs that cost a process each.
    """
    soaked = VARIABLE in os.environ
    count = int(os.environ.get(VARIABLE, default))
    chosen = settings(
        max_examples=max(1, count // one_in),
        deadline=None,  # limits are against hanging; no test is one of speed
        derandomize=not soaked,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )
    return lambda test: pytest.mark.soak(chosen(test))
