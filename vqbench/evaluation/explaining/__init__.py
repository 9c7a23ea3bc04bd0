"""Evaluate the same images under other settings: which one makes the difference."""
