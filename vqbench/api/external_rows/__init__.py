"""External rows: measured here, and stored beside the runs of a suite."""
