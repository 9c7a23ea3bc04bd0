"""Plugins for vqbench, one per module; entry points in ``pyproject.toml`` name them."""
