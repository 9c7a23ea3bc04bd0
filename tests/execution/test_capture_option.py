"""The option ``--capture``: named once where it is refused, recorded, and not part of the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.distributed.test_devices import records
from tests.support.pretended_gpu import PretendedGpu
from tests.support.pretended_graph import pretended_graphs
from tests.support.tiny_suite import assert_same, vqbench, write

SMALL = ("--subset", "1100", "--test-images", "50", "--jobs", "0")  # nine whole batches and a smaller one


def test_a_refusal_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs on a CPU print the reason once; records have it; keys and weights are those without the option."""
    suite, reason = write(tmp_path, "vq, fsq"), "the device is a CPU, which has no CUDA graphs"
    for store, option in (("with", ["--capture"]), ("without", [])):
        assert vqbench("run", suite, "--store", tmp_path / store, *SMALL, *option) == 0
    assert " ".join(capsys.readouterr().err.split()).count(f"--capture: updates are not captured, since {reason}") == 1
    captured, plain = (records(tmp_path / store) for store in ("with", "without"))
    assert captured.keys() == plain.keys()
    assert [each["made"]["capture"] for each in captured.values()] == 2 * [{"replayed": 0, "refused": reason}]
    assert not any("capture" in json.dumps(each) for each in plain.values())
    assert_same(tmp_path / "with", tmp_path / "without")


def test_replays_are_recorded(tmp_path: Path) -> None:
    """A run on a pretended GPU records how many updates were replayed: of its nine whole batches, all but four."""
    words = ("run", write(tmp_path, "vq"), "--store", tmp_path / "runs", *SMALL)
    with PretendedGpu() as gpu, pretended_graphs(gpu):
        assert vqbench(*words, "--device", "cuda", "--capture", "-q") == 0
    (record,) = records(tmp_path / "runs").values()
    assert record["made"]["capture"] == {"replayed": 5}
    assert "capture" not in json.dumps(record["run"]), "of which the key is made"
