"""Tables computed from a suite's: BD-rates, differences and rank correlations."""
