"""Tables computed from a suite's tables: BD-rates and rank correlations."""
