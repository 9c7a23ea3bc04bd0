"""Fixed networks of metrics and losses: Inception, LPIPS."""
