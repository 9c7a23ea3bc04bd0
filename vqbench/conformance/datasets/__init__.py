"""Checks of a data set: its facts, its images, and its files."""
