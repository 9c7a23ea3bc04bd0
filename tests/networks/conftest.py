"""Fixtures of the tests of networks."""

from tests.support.measured_batches import weights

__all__ = ["weights"]
