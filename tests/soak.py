"""How many random inputs a property-based test tries."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

VARIABLE = "VQBENCH_SOAK"  # examples of each test; set by `tox -e soak`
DEFAULT = 100


def count(default: int = DEFAULT) -> int:
    """Examples of one test: ``default``, or what VQBENCH_SOAK says."""
    return int(os.environ.get(VARIABLE, default))


def examples(default: int = DEFAULT) -> settings:
    """Settings for a test of inputs that are slow to try: the same inputs in every default run, new ones in a soak.

    Decorate a test with ``@examples()`` and mark it ``soak``, so that `tox -e soak` runs it with more of them.
    """
    return settings(
        max_examples=count(default),
        deadline=None,  # the limit is against hanging, no timing test
        derandomize=VARIABLE not in os.environ,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )
