"""Doctor and prepare: the state of an installation and its assets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench


def test_doctor_names_what_numbers_depend_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Doctor reports the libraries' versions, the state of every asset, and no problem on a machine where tests run."""
    from vqbench.conformance.golden import compare

    monkeypatch.setattr(compare, "GROUPS", compare.GROUPS[:1])  # the others have a test of their own
    assert vqbench("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert found["broken_plugins"] == []
    assert {"torch", "lpips", "torch-fidelity"} <= found["versions"].keys()
    assert "inception_fid" in found["assets"]


def test_prepare_offline_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an empty cache and --offline, prepare fails at once and names the missing asset and what to do."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VQBENCH_OFFLINE", "0")
    monkeypatch.delenv("VQBENCH_DATA", raising=False)
    assert vqbench("prepare", "quick", "--store", tmp_path, "--offline") == 1
    said = capsys.readouterr().err
    assert "vgg16_lpips" in said
    assert said.count("\n") == 1
