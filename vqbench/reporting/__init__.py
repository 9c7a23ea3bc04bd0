"""Tables, statistics and pages from stored records. Without torch."""
