"""Carry out runs: one after the other or side by side, here or on a cluster.

Training and evaluation are refused on Windows, where stopping, resuming and locking were never tried.
"""

import sys

from vqbench.errors import UsageError

if sys.platform == "win32":
    raise UsageError("vqbench trains and evaluates on Linux and macOS; on Windows, run it in WSL")
