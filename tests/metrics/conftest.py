"""Fixtures of the tests of metrics."""

from tests.support.measured_batches import weights

__all__ = ["weights"]
