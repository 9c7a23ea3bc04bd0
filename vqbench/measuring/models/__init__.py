"""Models that exist, whoever trained them, as what makes the reconstructions."""
