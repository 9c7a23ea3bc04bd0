"""From records to tables, statistics and pages. Without torch."""
