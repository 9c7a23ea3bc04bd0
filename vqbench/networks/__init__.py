"""Fixed networks that metrics and losses judge with."""
