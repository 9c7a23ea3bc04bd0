"""Second stages: what makes pictures from a trained autoencoder's codes, and what these pictures are worth."""
