"""Carrying out one run after the other, and telling how it goes."""
