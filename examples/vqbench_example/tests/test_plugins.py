"""All plugins of the package keep the contract of their kind."""

from __future__ import annotations

from vqbench.testing import conformance

test_annealed_vq = conformance("annealed_vq")
test_edge_error = conformance("edge_error")
test_gratings = conformance("gratings")
test_patches = conformance("patches")
