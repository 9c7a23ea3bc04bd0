"""The conformance kit: every check detects its planted fault, and correct quantizers pass."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import faulty
from vqbench import registry, testing
from vqbench.cli import app
from vqbench.conformance import two_ranks
from vqbench.conformance.outcome import Result
from vqbench.quantizer import Quantizer
from vqbench.registry import discovery
from vqbench.testing import conformance

CHECKS = testing.CHECKS["quantizers"]
SLOW = {check.name for check in CHECKS if check.slow}
NO_GPU = {"gpu"}  # nothing to plant


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    yield
    registry.sources.cache_clear()


def one(cls: type[Quantizer], check: str) -> Result:
    """How one check of one class ends."""
    [result] = testing.check(testing.case(cls), only=[check], slow=True).results
    return result


def planted(of: dict[str, tuple[type[Quantizer], ...]], slow: bool) -> list[tuple[str, type[Quantizer]]]:
    return [(check, cls) for check, classes in of.items() for cls in classes if (check in SLOW) is slow]


def shown(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("check", "cls"), planted(faulty.FAULTS, slow=False), ids=shown)
def test_a_planted_fault_is_caught(check: str, cls: type[Quantizer]) -> None:
    """The check that exists for a fault fails on it, and says what to do."""
    result = one(cls, check)
    assert result.state == "FAIL", result
    assert result.do


@pytest.mark.parametrize(("check", "cls"), planted(faulty.WARNED, slow=False), ids=shown)
def test_what_is_allowed_but_matters_is_a_warning(check: str, cls: type[Quantizer]) -> None:
    """Properties that matter for reading the values are warnings, not failures."""
    assert one(cls, check).state == "WARN"


def test_every_check_has_its_fault() -> None:
    """Every check detects a planted fault, and at least fifteen kinds are planted."""
    assert {check.name for check in CHECKS} == set(faulty.FAULTS) | NO_GPU
    assert len({cls for classes in faulty.FAULTS.values() for cls in classes}) >= 15


@pytest.mark.parametrize("cls", faulty.HONEST, ids=shown)
def test_a_harmless_change_passes(cls: type[Quantizer]) -> None:
    """Another start, running means in buffers and two codes per position neither fail nor warn in any check."""
    report = testing.check(testing.case(cls))
    assert not [result for result in report.results if result.state not in ("PASS", "SKIP")]
    assert {result.check for result in report.results if result.state == "SKIP"} == SLOW | NO_GPU


def test_a_quantizer_may_declare_itself_unfit_for_ranks() -> None:
    """With distributed = False, checks of ranks are skipped with that reason; all other checks run."""
    report = testing.check(testing.case(faulty.OneDevice))
    assert not report.failed
    skipped = {result.check for result in report.results if "distributed = False" in result.what}
    assert skipped == {"ranks_agree", "two_ranks_are_one", "evaluation_is_local"}


@pytest.mark.slow
@pytest.mark.parametrize(("check", "cls"), planted(faulty.FAULTS, slow=True), ids=shown)
def test_a_fault_of_the_compiled_form_is_caught(check: str, cls: type[Quantizer]) -> None:
    """A quantizer with other results when compiled fails."""
    assert one(cls, check).state == "FAIL"


@pytest.mark.slow
@pytest.mark.parametrize(("check", "cls"), planted(faulty.WARNED, slow=True), ids=shown)
def test_a_broken_graph_is_a_warning(check: str, cls: type[Quantizer]) -> None:
    """A quantizer that waits for the device, but agrees when compiled, gets a warning."""
    assert one(cls, check).state == "WARN"


@pytest.mark.slow
def test_a_rank_that_waits_for_ever_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that wait for each other forever are a failure, not a hang, and the next quantizer gets new processes."""
    assert one(faulty.Averages, "ranks_agree").state == "PASS"  # both are up
    monkeypatch.setattr(two_ranks, "PATIENCE", 2.0)
    for cls in (faulty.NeverEnds, faulty.OneRankExchanges):
        result = one(cls, "ranks_agree")
        assert result.state == "FAIL"
        assert "rank" in result.what
        monkeypatch.undo()
        assert one(faulty.Averages, "ranks_agree").state == "PASS"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hvq", {"reset_every": 2}),
        ("sqvae", {"anneal_steps": None}),
        *(
            ("cvq", {"distance": distance, "anchor": anchor, "contrastive": False})
            for distance in ("l2", "cosine")
            for anchor in ("random", "unique", "probability", "closest", "farthest")
        ),
    ],
)
def test_ranks_agree_with_one_process_whatever_the_arguments(name: str, arguments: dict[str, Any]) -> None:
    """All anchors and distances, resets and keyed noise end on two ranks where one process does, with no warning."""
    subject = testing.case(name, num_codes=24, dim=6, **arguments)
    report = testing.check(subject, only=["ranks_agree", "two_ranks_are_one"])
    assert [result.state for result in report.results] == ["PASS", "PASS"], report.text


def test_checks_leave_the_random_generators_alone() -> None:
    """Checking a quantizer between two draws does not change the numbers drawn."""
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    testing.check(testing.case(faulty.Renamed), only=["state_dict_is_all", "small_batches"])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # type: ignore[index]


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr], ids=str)
def test_sparse_tensors_beside_it_do_not_count(layout: torch.layout) -> None:
    """A tensor without a storage, which the author's program keeps alive, is none of the quantizer's."""
    beside = torch.eye(2).to_sparse(layout=layout)
    assert one(faulty.Template, "memory_stays").state == "PASS"
    assert beside._nnz() == 2


def test_a_failure_shows_where(tmp_path: Path) -> None:
    """A crash of the quantizer is a failure that names the line of its file."""
    path = tmp_path / "my_vq.py"
    source = Path(testing.case(faulty.Template).file).read_text()
    path.write_text(source.replace("z_q = self.decode(codes)\n", "z_q = self.decode(codes) / self.absent\n"))
    [result] = testing.check(testing.case(path), only=["shapes"]).results
    assert result.state == "FAIL"
    assert "z_q = self.decode(codes) / self.absent" in result.what


def test_a_broken_plugin_fails_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`check --all` reports a broken plugin of a package with its cause, and checks all others."""
    offered = [EntryPoint("broken_vq", "nowhere_at_all", "vqbench.quantizers")]
    monkeypatch.setattr(
        "vqbench.registry.discovery.entry_points", lambda group: offered if group == "vqbench.quantizers" else []
    )
    registry.sources.cache_clear()
    assert vqbench("check", "--all", "--kind", "quantizer", "--only", "budget", "--json") == 1
    reports = {report["name"]: report for report in json.loads(capsys.readouterr().out)}
    assert [name for name, report in reports.items() if report["failed"]] == ["broken_vq"]
    assert "nowhere_at_all" in reports["broken_vq"]["checks"][0]["what"]
    assert {"vq", "cvq_offline"} <= set(reports)


def test_threads_are_cited_by_address() -> None:
    """Every thread is owner/repo#number, shown as its address; a third of the checks or more was born of one."""
    threads = [check.thread for check in CHECKS if check.thread]
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread) for thread in threads)
    assert len(threads) >= len(CHECKS) / 3
    result = one(faulty.HalfPrecision, "bfloat16")
    assert result.link == "https://github.com/lucidrains/vector-quantize-pytorch/issues/114"


# --- The kit in a test file, in two lines ---------------------------------------------------------------------------

test_in_two_lines = conformance("../../vqbench/conformance/templates/quantizer.py")


def test_a_plugin_author_s_tests(tmp_path: Path) -> None:
    """`conformance` in a plugin author's file: each check is a test, failures say what to do, skips have a reason."""
    source = Path(testing.case(faulty.Template).file).read_text()
    (tmp_path / "good_vq.py").write_text(source)
    (tmp_path / "bad_vq.py").write_text(source.replace("Q.straight_through(z, z_q)", "z_q"))
    (tmp_path / "test_mine.py").write_text(
        "from vqbench.testing import conformance\n"
        "test_good = conformance('good_vq.py')\n"
        "test_bad = conformance('bad_vq.py')\n"
    )
    seen: dict[str, str] = {}

    class Recorder:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call":
                seen[report.nodeid.split("::")[1]] = f"{report.outcome}: {report.longrepr}"

    words = ["-q", "-p", "no:cacheprovider", "-k", "encoder_learns or compiles", "--rootdir", str(tmp_path)]
    assert pytest.main([*words, str(tmp_path / "test_mine.py")], plugins=[Recorder()]) == 1
    assert seen["test_good[encoder_learns]"].startswith("passed")
    assert seen["test_bad[encoder_learns]"].startswith("failed: encoder_learns: ")
    assert (
        "straight" in seen["test_bad[encoder_learns]"] or "z + (z_q - z).detach()" in seen["test_bad[encoder_learns]"]
    )
    assert "--slow" in seen["test_good[compiles]"]


# --- The command ----------------------------------------------------------------------------------------------------


def vqbench(*words: object) -> int:
    return app.run_words([str(word) for word in words])


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 where nothing fails, 1 where something does or a file is broken, 2 for wrong usage; JSON has every result."""
    source = Path(testing.case(faulty.Template).file).read_text()
    good, bad, broken, empty = (tmp_path / f"{name}_vq.py" for name in ("good", "bad", "broken", "empty"))
    good.write_text(source)
    bad.write_text(source.replace("Q.straight_through(z, z_q)", "z_q"))
    broken.write_text("import nowhere")
    empty.write_text("answer = 42")
    only = ("--only", "encoder_learns", "--only", "shapes")
    assert vqbench("check", good, *only) == 0
    text = capsys.readouterr().out
    assert "PASS  encoder_learns" in text
    assert "2 PASS" in text
    assert vqbench("check", good, bad, *only, "--json") == 1
    reports = json.loads(capsys.readouterr().out)
    assert [report["failed"] for report in reports] == [False, True]
    assert [check["state"] for check in reports[1]["checks"]] == ["PASS", "FAIL"]
    assert vqbench("check", broken, *only) == 1
    assert "No module named 'nowhere'" in " ".join(capsys.readouterr().out.split())
    discovery._files.clear()  # as in a new process
    registry.sources.cache_clear()
    for words in (("check",), ("check", tmp_path / "absent.py"), ("check", "vqq"), ("check", empty)):
        assert vqbench(*words, *only) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert vqbench("check", good, *only, "--set", "beta=0.5", "--num-codes", 16, "--dim", 4, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["about"] == "num_codes 16, dim 4, beta 0.5"
    for wrong, sentence in (("beta=high", "not a number"), ("betta=1", "did you mean 'beta'"), ("beta", "such as")):
        assert vqbench("check", good, *only, "--set", wrong) == 2
        assert sentence in capsys.readouterr().err
    assert vqbench("check", good, "--only", "shape") == 2
    assert "did you mean 'shapes'" in capsys.readouterr().err


def test_ranks_are_started_once_and_end() -> None:
    """One pair of processes serves all quantizers; once stopped, neither is left."""
    assert one(faulty.Averages, "ranks_agree").state == "PASS"
    first = list(two_ranks.ranks().processes)
    assert one(faulty.LocalAverages, "ranks_agree").state == "FAIL"
    assert two_ranks.ranks().processes == first
    two_ranks.ranks().stop()
    assert all(process.poll() is not None for process in first)
