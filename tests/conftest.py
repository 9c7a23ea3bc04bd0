"""Shared fixtures and settings: tests use the CPU on any machine, unless they are marked ``gpu``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from vqbench import registry
from vqbench.registry import discovery

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # no test is one of speed, and machines are shared


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from the tests and from all processes that they start, before anything imports torch.

    Values that are kept and compared here are a CPU's; `-m gpu` selects the tests that need a GPU, and nothing else.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that need a GPU, also where another selection is made, such as `-m slow`."""
    if config.option.markexpr != "gpu":
        on_gpu = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the same numbers however tests are selected and ordered, in fixtures of a module too."""
    import torch  # after pytest_configure

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _forget_plugin_files() -> Iterator[None]:
    """Forget the plugin files that a test added, which the next test of the process would list."""
    before = dict(discovery._files)
    yield
    if discovery._files != before:
        discovery._files.clear()
        discovery._files.update(before)
        registry.sources.cache_clear()
