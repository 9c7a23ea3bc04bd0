"""The Python API: what ``import vqbench`` offers, one subject a file.

None of its modules imports torch before a function needs it.
"""
