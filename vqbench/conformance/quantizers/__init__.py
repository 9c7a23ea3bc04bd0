"""Checks of a quantizer, one module for each family."""
