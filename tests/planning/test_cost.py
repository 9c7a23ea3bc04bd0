"""The cost of runs: keys of many runs are computed once for those that share their parts."""

from __future__ import annotations

from dataclasses import replace

from vqbench.planning.cost import kind, once_by_parts
from vqbench.spec import PluginSpec, RunSpec


def test_a_key_is_computed_once_for_shared_parts_alone() -> None:
    """Runs that share all four parts get one computed key; another argument, in a part of its own, gives another."""
    recipe, backbone, dataset = (PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "mnist"))
    run = RunSpec(recipe, backbone, dataset, PluginSpec("vq", 1, {"dim": 4}), 1)
    computed = []

    def key(run: RunSpec) -> str:
        computed.append(run.quantizer.name)
        return kind(run)

    shared = once_by_parts(key)
    assert shared(run) == shared(replace(run, seed=2)) == kind(run)
    assert computed == ["vq"]
    # Each of these is gone after its turn, so that the next one may have its place in memory.
    others = [shared(replace(run, quantizer=PluginSpec(f"plugin{number}", 1, {}))) for number in range(100)]
    assert len(set(others)) == 100
