"""Training: the engine, checkpoints, and what training loops share."""
