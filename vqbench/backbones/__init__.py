"""Backbones: encoder and decoder pairs, one a file."""
