"""Export trained models to folders that need no store."""
