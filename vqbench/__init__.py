"""vqbench: vector quantizers for images, compared under one protocol."""

__version__ = "0.1.0"
