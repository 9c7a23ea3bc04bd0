"""The memory of a step with a large codebook, and the pages that it gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vqbench.execution.executors.local import worker_environment

STEP = """
import resource, sys, torch
from vqbench import registry
name, arguments = sys.argv[1], eval(sys.argv[2])
quantizer = registry.load("quantizers", name)(65536, 8, **arguments)
z = torch.randn(1, 8, 256, int(sys.argv[3]) // 256, requires_grad=True)
adam = torch.optim.Adam(quantizer.parameters()) if list(quantizer.parameters()) else None
small = registry.load("quantizers", name)(64, 8, **arguments)  # so that what torch loads for a step is there
out = small(z[..., :8, :8])
(out.z_q.square().sum() + out.loss).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = quantizer(z)
(out.z_q.square().sum() + out.loss).backward()
if adam:
    adam.step()
assert out.codes.numel() == int(sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vq", {}),
        ("vq_ema", {}),
        *(("cvq", {"anchor": anchor, "contrastive": False}) for anchor in ("random", "probability", "closest")),
        ("cvq", {"anchor": "probability", "distance": "l2", "contrastive": False}),
        ("cvq", {}),
        ("hvq", {}),
        ("sqvae", {}),
    ],
)
def test_a_large_codebook_takes_half_a_gigabyte(name: str, arguments: dict[str, object]) -> None:
    """K = N = 65,536, D = 8: forward, backward and Adam take at most 512 MB more; a whole matrix takes 16 GiB.

    The soft methods, which take minutes, with an eighth of the features: a whole matrix takes 2 GiB, and they hold ten.
    """
    features = 8192 if name in ("hvq", "sqvae") else 65536
    words = [sys.executable, "-c", STEP, name, repr(arguments), str(features)]
    added = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)  # KiB
    assert added <= 512 * 1024, f"{added / 1024:.0f} MiB"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="large pages are asked of Linux")
def test_large_tensors_have_large_pages() -> None:
    """With the environment of workers, a tensor of 64 MiB takes far fewer page faults than its 16,384 small pages."""
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not pages.exists() or "[never]" in pages.read_text():
        pytest.skip("this system grants no large pages")
    code = """
import resource, torch
torch.ones(2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=worker_environment(1)
    )
    assert int(done.stdout) < 8000
