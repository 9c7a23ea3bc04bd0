"""The golden check of ``vqbench doctor``: it passes for correct values and names wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import vqbench.functional as Q
from tests.support.tiny_suite import vqbench
from vqbench.conformance.golden import compare, values
from vqbench.quantizers.vq import VQ


def test_this_installation_computes_the_kept_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every group passes; a group without its weights on this machine is skipped, and the weights are named."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    outcomes = {outcome.name: outcome for outcome in compare.check()}
    assert {name for name, outcome in outcomes.items() if outcome.state == "SKIP"} == {"LPIPS", "Inception features"}
    assert "vgg16_lpips" in outcomes["LPIPS"].about
    wrong = [outcome for outcome in outcomes.values() if outcome.state == "FAIL"]
    assert wrong == [], "on purpose? then run: python -m vqbench.conformance.golden"


def test_every_built_in_quantizer_has_kept_values() -> None:
    """A quantizer or preset that is added is part of the check, or the file is stale."""
    kept = compare.kept_values()["quantizers"]
    assert {name.split(" ")[0] for name in kept} == {case.name for case in values.built_in_quantizers()}
    assert set(compare.kept_values()) == {group.name for group in compare.GROUPS}


def second_nearest(features: torch.Tensor, codebook: torch.Tensor, distance: Any = "l2") -> torch.Tensor:
    return Q.squared_distances(features, codebook).topk(2, dim=1, largest=False).indices[:, 1]


def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the quantizer vq alone, against its kept values."""
    case = next(each for each in values.built_in_quantizers() if each.name == "vq")
    kept = {name: value for name, value in compare.kept_values()["quantizers"].items() if name.startswith("vq ")}
    monkeypatch.setattr(values, "built_in_quantizers", lambda: iter([case]))
    monkeypatch.setattr(compare, "GROUPS", [group for group in compare.GROUPS if group.name == "quantizers"])
    monkeypatch.setattr(compare, "kept_values", lambda: {"quantizers": kept})


@pytest.mark.parametrize("fault", ["none", "codes", "loss", "nan", "error"])
def test_doctor_fails_where_a_value_is_wrong(
    fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong codes, a loss wrong by a thousandth, NaN and an error of a library end doctor with exit code 1."""
    one_case(monkeypatch)
    right = VQ.quantize

    def quantize(self: VQ, z: torch.Tensor, codebook: torch.Tensor) -> Any:
        if fault == "error":
            raise RuntimeError("no kernel image is available")
        out = right(self, z, codebook)
        out.loss = out.loss * {"loss": 1.001, "nan": float("nan")}.get(fault, 1.0)
        return out

    monkeypatch.setattr(VQ, "quantize", quantize)
    if fault == "codes":
        monkeypatch.setattr(Q, "assign", second_nearest)
    assert vqbench("doctor", "--json") == (fault != "none")
    [outcome] = json.loads(capsys.readouterr().out)["golden_check"]
    assert outcome["state"] == ("PASS" if fault == "none" else "FAIL")
    assert {"loss": "vq loss", "error": "no kernel image"}.get(fault, "") in outcome["about"]


def test_filled_weights_depend_on_names_alone() -> None:
    """No generator, no initial value and no order of creation has a part in them."""
    first = values.fill(VQ(16, 4)).state_dict()
    torch.manual_seed(7)
    second = values.fill(VQ(16, 4, init="sonnet")).state_dict()
    assert torch.equal(first["codebook"], second["codebook"])
    assert values.wave("a", 4).tolist() != values.wave("b", 4).tolist()
    assert values.wave("a", 1000).std().item() == pytest.approx(0.707, abs=0.03)
