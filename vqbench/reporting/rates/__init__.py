"""Rows compared at equal quality: what each of them costs in bits."""
