"""Measure images that exist: folders, shards and arrays, to values."""
