"""Checks of a metric: of reconstructions, and of samples."""
