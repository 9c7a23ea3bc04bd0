"""Results on disk: records, their schema, and what may be deleted of them. Without torch."""
