"""The quantizers beyond the paper's on two ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import two_ranks
from tests.test_modern import CASES, build, feature_map
from vqbench.functional import ranks as collectives

ROOT = Path(__file__).resolve().parents[1]


def test_two_ranks_agree_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with half the batch each end with one process's codebooks, gradients and objectives.

    CVQ's contrastive term is each rank's own, with any gradient.
    """
    built = {case: build(case) for case in CASES if case != "rotation-cvq"}
    torch.save(built, tmp_path / "quantizers")
    command = [sys.executable, str(ROOT / "tests" / "modern_ranks.py")]
    arguments = [str(tmp_path / name) for name in ("meeting", "out", "quantizers")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ranks = [subprocess.Popen([*command, str(rank), *arguments], env=environment) for rank in (0, 1)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    first, second = (torch.load(f"{arguments[1]}.{rank}") for rank in (0, 1))
    monkeypatch.setattr(two_ranks, "quantizers", lambda: built)
    expected = two_ranks.train()
    assert first.keys() == second.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(first[key], second[key]), f"the ranks differ in {key}"
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("case", CASES)
def test_evaluation_exchanges_nothing_between_ranks(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In evaluation no rank waits for another, which may have fewer pictures left; in training it would ask one."""
    quantizer, z = build(case).eval(), feature_map()
    expected = quantizer(z)
    monkeypatch.setattr(collectives.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(collectives.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(collectives.dist, "get_rank", lambda: 0)
    out = quantizer(z)
    assert torch.equal(out.z_q, expected.z_q)
    assert torch.equal(out.loss, expected.loss)
    with pytest.raises((ValueError, RuntimeError), match="process group"):
        quantizer.train()(z)
    assert collectives.world_size() == 2
