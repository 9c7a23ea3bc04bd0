"""Quantizers, one method a file. Installed as ``vqbench.quantizers``."""
