"""The files that ``vqbench new`` writes, one per kind of plugin."""
