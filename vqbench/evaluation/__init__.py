"""Measure trained models: metrics, snapshots of images and codebooks."""
