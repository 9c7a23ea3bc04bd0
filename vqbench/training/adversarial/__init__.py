"""Adversarial training: losses, discriminators and updates."""
