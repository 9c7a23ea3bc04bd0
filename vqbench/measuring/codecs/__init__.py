"""Classical image codecs at a target number of bits."""
