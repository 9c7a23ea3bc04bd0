"""Data sets, one a file: splits as uint8 tensors."""
