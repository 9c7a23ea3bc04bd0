"""Checks of a recipe: what it trains, says of itself, and writes."""
