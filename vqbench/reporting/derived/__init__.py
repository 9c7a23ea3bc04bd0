"""Tables computed from a suite's tables: bits at equal quality, and what orders the rows alike."""
