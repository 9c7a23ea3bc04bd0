"""Freed memory is returned to the operating system."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import gc
from vqbench.system import freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

blocks = [bytearray(b"x") * 50_000 for _ in range(2_000)]  # 100 MB, below the size that the C library maps by itself
del blocks[:-1]  # the last one is at the end of the heap, which so cannot shrink
gc.collect()
before = resident()
freed_memory.release()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other C libraries keep nothing, or are not known")
def test_holes_are_returned() -> None:
    """What was freed below a block in use does not stay in the process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50e6
