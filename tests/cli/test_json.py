"""The JSON of every command: it keeps its documented schema, and keys are snake_case."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tests.evaluation.test_explain import IMAGES, run, store
from tests.support.tiny_suite import vqbench
from vqbench.cli import commands
from vqbench.cli.json_output import OUTPUTS, schema
from vqbench.reporting.plugin_facts import PLUGINS
from vqbench.spec import RunSpec
from vqbench.store.results import ResultStore

__all__ = ["run", "store"]  # fixtures
ROOT = Path(__file__).parents[2]


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    """The JSON that a command prints."""
    assert vqbench(*words) in (0, 1)
    return json.loads(capsys.readouterr().out)


def require(command: str, data: Any) -> None:
    """Validate ``data`` against the schema of ``command``."""
    TypeAdapter(OUTPUTS[command]).validate_json(json.dumps(data))


@pytest.mark.parametrize("kind", [*PLUGINS, "suites", "protocols", "runs"])
def test_list_and_info(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`list` of every kind, and `info` of every plugin, keep their schema."""
    listed = printed(capsys, "list", kind, "--json", *(["--store", ROOT / "results"] if kind == "runs" else []))
    assert listed
    require("list", listed)
    for entry in listed if kind in PLUGINS else []:
        require("info", printed(capsys, "info", kind[:-1], entry["name"], "--json"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("plan", ("plan", "quick", "--json")),
        ("plan --cost", ("plan", "quick", "--cost", "--json")),
        ("status", ("status", "quick", "--json")),
        ("status", ("status", "small_datasets", "--json", "--store", ROOT / "results")),
        ("table", ("table", "quick", "--json")),
        ("table", ("table", "small_datasets", "--json", "--paper")),
        ("report", ("report", "quick", "--format", "json")),
        ("diff", ("diff", ROOT / "results", ROOT / "results", "--json")),
        ("check", ("check", "vq", "--only", "budget", "--json")),
        ("verify", ("verify", ROOT / "results", "--document", ROOT / "README.md", "--json")),
        ("merge", ("merge", ROOT / "results", ROOT / "tests", "--dry-run", "--json")),
    ],
)
def test_commands_about_suites_and_results(
    command: str,
    words: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Plans, states, tables and differences keep their schema, with stored results and without."""
    monkeypatch.chdir(tmp_path)
    results = ("--results", ROOT / "results") if words[0] in ("plan", "table", "report") else ()
    require(command, printed(capsys, *words, *results))


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The facts about an installation keep their schema."""
    from vqbench.conformance.golden import compare

    monkeypatch.setattr(compare, "GROUPS", compare.GROUPS[:1])
    require("doctor", printed(capsys, "doctor", "--json"))


def test_explain(store: ResultStore, run: RunSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """The explanation of a run keeps its schema."""
    words = ("explain", run.key, "--store", store.root, "--test-images", IMAGES, "--metrics", "l1", "--json")
    require("explain", printed(capsys, *words))


def test_every_command_with_json_has_a_schema() -> None:
    """No command prints JSON that is not described; `profile` prints the file that it also writes."""
    from inspect import signature

    with_json = {name for name, command in commands.COMMANDS.items() if "as_json" in signature(command).parameters}
    assert with_json <= {*OUTPUTS, "profile"}


def test_keys_are_snake_case() -> None:
    """Every key of every schema is a lower-case word or several joined by underscores, and has a type."""
    for command in OUTPUTS:
        parts = schema(command)
        for part in [parts, *parts.get("$defs", {}).values()]:
            assert [key for key in part.get("properties", {}) if not re.fullmatch(r"[a-z]+(_[a-z]+)*", key)] == []


def test_another_key_is_caught() -> None:
    """A key that is renamed, added or lost breaks the schema."""
    state = {"row": "vq", "dataset": "mnist", "seed": 1, "key": "0", "state": "done", "seconds": None, "date": None}
    whole = {"suite": "s", "counts": {}, "runs": [state], "next": "", "other_settings": []}
    require("status", whole)
    for runs in ([{**state, "data set": "mnist"}], [{key: state[key] for key in state if key != "date"}]):
        with pytest.raises(ValidationError):
            require("status", {**whole, "runs": runs})


def test_the_reference_page_is_up_to_date() -> None:
    """The page has the tables that the tool makes of the schemas."""
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "json_reference.py"], capture_output=True, text=True, check=True
    ).stdout
    assert made in (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")


def test_explain_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images without a run, and a target, have schemas of their own."""
    levels = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "a.npy", levels)
    np.save(tmp_path / "b.npy", 255 - levels)
    words = ("explain", tmp_path / "a.npy", tmp_path / "b.npy", "--json", "-q")
    require("explain, of images", printed(capsys, *words))
    require("explain --target", printed(capsys, *words, "--target", "psnr=8.1"))
