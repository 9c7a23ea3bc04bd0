"""From suite files to runs: keys, required values and cost."""
