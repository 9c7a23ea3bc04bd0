"""Second stages: what makes images from a trained autoencoder's codes, and what these images are worth."""
