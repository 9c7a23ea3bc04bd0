"""Records of runs on disk, their schema, and safe deletion; without torch."""
