"""List and info: every plugin, suite and protocol is listed and described."""

from __future__ import annotations

import json

import pytest

from tests.support.tiny_suite import vqbench

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
