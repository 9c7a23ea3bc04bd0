"""The quantizers of a checkout without its link ``vqbench/quantizers``.

Python and type checkers prefer the link. An unpacked sdist has none, nor has a file system without links.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[1] / "quantizers")]

from vqbench.quantizers.__init__ import __all__, __dir__, __getattr__  # noqa: F401  # found on the path above
