"""The ranks of a run: their group, what they exchange, and how they are launched."""
