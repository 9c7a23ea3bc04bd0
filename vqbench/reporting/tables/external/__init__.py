"""Rows of tables that vqbench measured and did not train."""
