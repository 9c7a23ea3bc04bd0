"""Models of any origin that reconstruct the originals of a measurement."""
