"""The JSON schema of suites: it is current, accepts every shipped suite, and refuses what vqbench refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vqbench.errors import UsageError
from vqbench.planning import yamlfile
from vqbench.planning.expansion import expand
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import known_suites
from vqbench.planning.yamlfile import Document
from vqbench.reporting.suite_schema import FILE, HEADER, schema_path, suite_schema

SUITES = Path(__file__).parents[2] / "suites"
QUICK = yamlfile.read(SUITES / "quick.yaml").data


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(schema_path().read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_file_is_what_the_code_generates() -> None:
    """``suites/schema.json`` is current; ``python tools/suite_schema.py`` writes it."""
    assert json.loads((SUITES / FILE).read_text(encoding="utf-8")) == suite_schema()


def test_every_shipped_suite_validates_and_names_the_schema(validator: Any) -> None:
    """An editor finds the schema from each suite's first line, and has nothing to complain about."""
    for path in known_suites().values():
        assert path.read_text(encoding="utf-8").startswith(HEADER.format(FILE)), path
        assert not [error.message for error in validator.iter_errors(yamlfile.read(path).data)], path


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": ["mnist"]},
        {"name": "../quick"},
        {"train": {"clean": {"epoch": 6}}},
        {"train": {"clean": {"epochs": 0}}},
        {"train": {"clean": {}, "official": {}}},
        {"measure": ["cleaner"]},
        {"datasets": []},
        {"datasets": [{"photos": {"sise": 32}}]},
        {"backbone": {"conv": {"hiden": 64}}},
        {"codebook": {"num_code": 512}},
        {"codebook": {"num_codes": [512, 512]}},
        {"quantizers": [{"vq": {"betta": 0.25}}]},
        {"quantizers": [{"vq": {"beta": [0.25, -1]}}]},
        {"quantizers": [{"cvq": {"anchor": "nearest"}}]},
        {"quantizers": [{"vq": {"num_codes": 64}}]},
        {"quantizers": [{"vq": {}, "lable": "VQ"}]},
        {"quantizers": [{"label": "VQ"}]},
        {"seeds": [-1]},
        {"metrics": ["l1", "l1"]},
        {"table": {"colums": ["l1"]}},
        {"samples": {"count": 1}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_vqbench_refuses(change: dict[str, Any], validator: Any) -> None:
    """A wrong key or value is marked by the editor, and is an error when the suite is planned."""
    data = {**QUICK, **change}
    assert list(validator.iter_errors(data))
    with pytest.raises(UsageError):
        expand(SuiteSpec.from_document(Document(data)))


@pytest.mark.parametrize(
    "change",
    [
        {"quantizers": ["vq", {"mine": {"beta": 1}}, {"cvq_online": None}, {"vq": {"beta": [0.25, 1]}}]},
        {"metrics": ["l1", "my_metric"], "table": {}},
        {"codebook": {"num_codes": [256, 512], "dim": 64}},
        {"train": {"my_recipe": {"steps": 5}}},
        {"title": None},
    ],
    ids=str,
)
def test_the_schema_accepts_plugins_of_files_and_grids(change: dict[str, Any], validator: Any) -> None:
    """Names of plugins stay open: a suite can name those of files and packages."""
    assert not [error.message for error in validator.iter_errors({**QUICK, **change})]
    SuiteSpec.from_document(Document({**QUICK, **change}))


def test_every_key_of_a_suite_has_a_description() -> None:
    """An editor explains each key, and so does the documentation."""
    schema = suite_schema()
    parts = [schema, *(schema["$defs"][name] for name in ("Codebook", "PaperRow", "TableSpec", "SampleSettings"))]
    parts.append(schema["$defs"]["QuantizerRow"]["anyOf"][1])
    for part in parts:
        assert all(value.get("description") for value in part["properties"].values() if "$ref" not in value), part
