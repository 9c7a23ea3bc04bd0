"""Checks of a backbone: its shapes, gradients, weights and state."""
