"""Show which settings of the evaluation make the difference."""
