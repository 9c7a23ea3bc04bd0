"""Tables of records, with ranks, marks and verdicts. Without torch."""
