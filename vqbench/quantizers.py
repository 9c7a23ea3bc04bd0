"""The quantizers of a checkout whose link ``vqbench/quantizers`` is missing: those of the neighbouring folder.

Python and type checkers prefer the link. An unpacked sdist has none, nor has a file system without links.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[1] / "quantizers")]
