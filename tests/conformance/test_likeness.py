"""``check --like`` finds equal what is equal, and names the first tensor that differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.cvq_port import CVQPort
from vqbench import testing
from vqbench.cli import app
from vqbench.conformance.outcome import Result
from vqbench.errors import UsageError
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq import VQ

NAMES = {"embedding.weight": "codebook", "hits": "usage"}
CVQ = {"distance": "l2", "anchor": "closest", "contrastive": False}
PORT = Path(__file__).parents[1] / "support" / "cvq_port.py"


def compared(fault: str, **options: bool) -> list[Result]:
    candidate, reference = testing.case(CVQPort, fault=fault), testing.case("cvq", kind="quantizer", **CVQ)
    return testing.check_like(candidate, reference, names=NAMES, **options).results


def test_a_faithful_port_equals_cvq() -> None:
    """An independent port of CVQ, mapped by name, is equal to rounding in every tensor over 20 steps."""
    results = {result.check: result for result in compared("")}
    assert list(results) == [
        "state", "codes", "z_q", "loss", "objective", "gradients", "usage", "codebook", "evaluation",
    ]  # fmt: skip
    assert all(result.state == "PASS" for name, result in results.items() if name != "state")
    assert "relocated (reference only)" in results["state"].what
    assert all("in 20 steps" in result.what for name, result in results.items() if name != "state")


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("sign", "codes", "the candidate's codes are the farthest by l2"),
        ("sum", "loss", "times the reference's"),
        ("beta", "gradients", "gradient of loss by z: 4 of 4 rows differ"),
        ("depth", "gradients", "gradient of z_q by z: 4 of 4 rows differ"),
        ("decay", "usage", "the candidate's is 100 times the reference's"),
        ("still", "usage", "the candidate leaves it unchanged"),
        ("farthest", "codebook", "the farthest of 80 (as 58 of these 58 codes do), in the reference to feature"),
        ("draw", "z_q", "it draws other random numbers than the reference"),
        ("half", "codes", "1 of 80 differ, the first at (0, 0, 0, 0)"),
        ("evaluation", "evaluation", "z_q in evaluation"),
    ],
)
def test_a_planted_fault_is_named(fault: str, check: str, words: str) -> None:
    """The last result fails on the tensor that the fault changes first, with step, symptom and what to compare."""
    *_, last = compared(fault)
    assert (last.check, last.state) == (check, "FAIL")
    assert "step 1" in last.what
    assert words in last.what
    assert last.do


def test_the_port_with_farthest_anchors_is_cvq_farthest() -> None:
    """The port with the slip differs from CVQ, and equals the preset that is named after the slip."""
    candidate, preset = testing.case(CVQPort, fault="farthest"), testing.case("cvq_farthest", kind="quantizer")
    assert not testing.check_like(candidate, preset, names=NAMES).failed


def test_factors_are_named() -> None:
    """A gradient that is a multiple of the reference's is reported with the factor."""
    assert "4 times the reference's" in compared("beta")[-1].what
    assert "4 times the reference's" in compared("depth")[-1].what


def test_a_later_difference_is_named_with_its_step() -> None:
    """A restart that one of two quantizers lacks shows in the first step in which a code starves."""
    slow = testing.case("vq_ema_restart", kind="quantizer", threshold=1.0)
    none = testing.case("vq_ema_restart", kind="quantizer", threshold=0.0)
    *_, last = testing.check_like(none, slow).results
    assert last.state == "FAIL"
    assert int(last.what.partition("step ")[2].partition(",")[0]) > 1


def test_every_kind_of_quantizer_equals_itself() -> None:
    """Methods with noise, schedules, several codes, running means and no codes at all are equal to themselves."""
    for name in ("gumbel", "sqvae", "residual", "vq_ema_restart", "fsq", "identity", "vq_ste_plus"):
        report = testing.check_like(testing.case(name), testing.case(name), steps=4)
        assert {result.state for result in report.results} == {"PASS"}, name


class Swapped(CVQPort):
    """Takes code 1 in place of code 0, which is its twin."""

    def forward(self, z: torch.Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.codes = torch.where(out.codes == 0, 1, out.codes)
        return out


def test_near_ties_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another choice among equally near codes is a warning: aligned, the comparison goes on; free, it says where."""
    start = VQ.__init__

    def twins(self: VQ, *args: object, **options: object) -> None:
        start(self, *args, **options)  # type: ignore[arg-type]
        self.codebook.data[1] = self.codebook.data[0] = 0.5

    monkeypatch.setattr(VQ, "__init__", twins)
    candidate, reference = testing.case(Swapped), testing.case("cvq", kind="quantizer", **CVQ)
    aligned = testing.check_like(candidate, reference, names=NAMES, steps=1)  # then they are no twins
    assert not aligned.failed
    [ties] = [result for result in aligned.results if result.check == "near-ties"]
    assert ties.state == "WARN"
    assert "rounding decides" in ties.what
    *_, last = testing.check_like(candidate, reference, names=NAMES, free_run=True).results
    assert last.state == "WARN"
    assert "the free run parts at step 1" in last.what
    assert "1 instead of 0" in last.what


def test_states_that_do_not_map_are_refused() -> None:
    """An unmapped entry whose shape is there, an unknown name and another shape are errors that say what to do."""
    reference = testing.case("cvq", kind="quantizer", **CVQ)
    with pytest.raises(UsageError, match=r"give --map embedding.weight=codebook"):
        testing.check_like(testing.case(CVQPort), reference)
    with pytest.raises(UsageError, match="the candidate has no 'hit'"):
        testing.check_like(testing.case(CVQPort), reference, names={"hit": "usage"})
    with pytest.raises(UsageError, match="the reference has no 'use'"):
        testing.check_like(testing.case(CVQPort), reference, names={"hits": "use"})
    with pytest.raises(UsageError, match="has shape"):
        testing.check_like(testing.case(CVQPort), reference, names={"hits": "codebook"})
    with pytest.raises(UsageError, match="only quantizers"):
        testing.check_like(testing.case("psnr"), reference)


def test_random_generators_and_default_type_are_left_alone() -> None:
    """A comparison restores torch's generator and default type."""
    before = torch.get_rng_state()
    compared("")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32


def test_the_command_compares(capsys: pytest.CaptureFixture[str]) -> None:
    """The command exits 0 for a faithful port, and 1 with the anchors named for the port with the farthest ones."""
    like = ["--like", "cvq(distance=l2, anchor=closest, contrastive=false)"]
    maps = ["--map", "embedding.weight=codebook", "--map", "hits=usage", "--json"]
    assert app.run_words(["check", str(PORT), *like, *maps]) == 0
    capsys.readouterr()
    assert app.run_words(["check", str(PORT), "--set", "fault=farthest", *like, *maps]) == 1
    [report] = json.loads(capsys.readouterr().out)
    assert report["failed"]
    assert "the anchors of 58 of 64 codes differ" in report["checks"][-1]["what"]
    assert app.run_words(["check", "vq", "--map", "a=b"]) == 2
    assert app.run_words(["check", "vq", "--like", "vq(beta=[0,1])"]) == 2
    assert "one value per argument" in capsys.readouterr().err
