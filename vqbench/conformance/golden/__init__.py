"""The golden check of ``vqbench doctor``: values that every machine computes."""
