"""One static HTML page per suite, from stored records. Without torch."""
