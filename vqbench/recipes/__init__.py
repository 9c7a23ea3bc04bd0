"""Training recipes, one loop a file."""
