"""List and info: every plugin, suite and protocol is listed and described."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench
from vqbench.planning.suite_files import load_suite

KINDS = ("quantizers", "datasets", "metrics", "backbones", "recipes", "suites", "protocols")


@pytest.mark.parametrize("kind", KINDS)
def test_list_and_info_know_everything(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever ``list`` names, ``info`` describes, as text and as JSON."""
    assert vqbench("list", kind, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed
    assert not [row for row in listed if row["about"].startswith("BROKEN")]
    for row in listed:
        assert vqbench("info", kind[:-1], row["name"]) == 0
        assert capsys.readouterr().out.strip()
        assert vqbench("info", kind[:-1], row["name"], "--json") == 0
        assert json.loads(capsys.readouterr().out)


def test_info_protocol_gives_every_knob_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Both uses of a protocol's name are described setting by setting."""
    for name in ("official", "clean"):
        assert vqbench("info", "protocol", name, "--json") == 0
        data = json.loads(capsys.readouterr().out)
        assert set(data) == {"train", "measure"}
        assert all(knob["reason"] for knobs in data.values() for knob in knobs.values())


def test_quantizers_are_listed_with_year_and_paper(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each method has what it is, a year and the title of its paper, in lines of the terminal; presets say of what."""
    monkeypatch.setenv("COLUMNS", "80")
    assert vqbench("list", "quantizers") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    entry = shown[shown.index("\nvq ") :].partition("\nvq_bridge")[0]
    assert " ".join(entry.split()) == (
        "vq 2017 Choose the nearest code, with a straight-through gradient. Neural Discrete Representation Learning, "
        "NeurIPS 2017"
    )
    assert "cvq_offline           2023  cvq with online=False, contrastive=False." in shown
    assert vqbench("list", "quantizers", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if not (row["year"] and row["paper"])] == []


def test_runs_of_a_store_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`list runs` names every finished run with its suite and row; a store without any says what to do."""
    results = Path(__file__).parents[2] / "results"
    assert vqbench("list", "runs", "--store", results) == 0
    shown = capsys.readouterr().out
    assert "aeb14854fa486e61" in shown
    assert "quick: vq" in shown
    assert vqbench("list", "runs", "--store", tmp_path) == 0
    assert "has no finished run; `vqbench run SUITE` trains some" in capsys.readouterr().out


def test_info_of_a_data_set_has_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments with their defaults, sizes, licence and source are part of what is known of a data set."""
    assert vqbench("info", "dataset", "photos") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Any folder of images")
    for fact in ("licence: ", "source: ", "  size     256\n", "  damaged  refuse\n", "  folder   none\n"):
        assert fact in shown
    assert vqbench("info", "dataset", "mnist") == 0
    assert "counts: 60,000 train, 10,000 test" in capsys.readouterr().out


def test_info_of_a_suite_is_yaml_with_its_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The YAML is a suite that loads again, and has the changes of --set; other kinds have none."""
    assert vqbench("info", "suite", "quick", "--set", "seeds=[1,2]", "--set", "codebook.num_codes=64") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# ")
    assert "16 cells (8 rows, 1 data set, 2 seeds)" in shown
    (tmp_path / "again.yaml").write_text(shown)
    suite = load_suite(tmp_path / "again.yaml")
    assert (suite.seeds, suite.codebook.num_codes) == ([1, 2], [64])
    assert vqbench("info", "quantizer", "vq", "--set", "beta=1") == 2
    assert "--set changes a suite" in capsys.readouterr().err


def test_a_preset_shows_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """The arguments of a preset are those that it sets, not the defaults of its class."""
    assert vqbench("info", "quantizer", "cvq_offline", "--json") == 0
    assert json.loads(capsys.readouterr().out)["arguments"]["online"] is False
