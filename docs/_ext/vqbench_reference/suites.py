"""The keys of a suite, from its JSON schema."""

from __future__ import annotations

import json
from typing import Any

from vqbench.planning.suite_parts import ROW_KEYS, SAMPLE_KEYS
from vqbench.reporting.suite_schema import suite_schema
from vqbench_reference.rst import code, literal, plain, section, table

PARTS = {  # definitions of the schema -> how a value is called
    "Training": "protocol or :ref:`recipe <recipes>`",
    "Backbone": ":ref:`backbone <backbones>`",
    "Dataset": ":ref:`data set <datasets>`",
    "SecondStage": ":ref:`recipe <recipes>`",
    "QuantizerRow": ":ref:`row <suite-row>`",
    "Codebook": ":ref:`mapping <suite-codebook>`",
    "SampleSettings": ":ref:`mapping <suite-samples>`",
    "TableSpec": ":ref:`mapping <suite-table>`",
    "PaperRow": ":ref:`mapping <suite-row-paper>`",
    "Metric": ":ref:`metric <metrics>`",
}


def lines() -> list[str]:
    """Return a table of the keys of a suite, and one for each mapping in it."""
    schema = suite_schema()
    defs = schema["$defs"]
    row = {key: defs["QuantizerRow"]["anyOf"][1]["properties"][key] for key in ROW_KEYS}
    samples = {key: defs["SampleSettings"]["properties"][key] for key in SAMPLE_KEYS}
    settings = {key: value for key, value in defs["SampleSettings"]["properties"].items() if key not in SAMPLE_KEYS}
    return [
        *section("Keys of a suite", "-", "suite-keys"),
        *_table(schema["properties"], schema["required"]),
        *section("A row: the items of quantizers", "-", "suite-row"),
        "A row is the name of a quantizer, or a mapping. One of its keys is the name, with the arguments that differ",
        "from the defaults; a list as the value of an argument is a grid. The other keys are:",
        "",
        *_table(row),
        *literal("quantizers:\n  - vq\n  - {cvq: {anchor: [random, closest]}, label: CVQ-VAE}", "yaml"),
        *section("paper of a row", "~", "suite-row-paper"),
        *_table(defs["PaperRow"]["properties"], defs["PaperRow"]["required"]),
        *section("codebook", "-", "suite-codebook"),
        *_table(defs["Codebook"]["properties"]),
        *section("samples", "-", "suite-samples"),
        *_table(samples),
        "Further keys are settings of the second stage's recipe:",
        "",
        *table(["key", "meaning"], [[code(key), plain(value["description"])] for key, value in settings.items()]),
        *section("table", "-", "suite-table"),
        *_table(defs["TableSpec"]["properties"]),
    ]


def _table(keys: dict[str, Any], required: list[str] | None = None) -> list[str]:
    rows = []
    for key, schema in keys.items():
        default = code(json.dumps(schema.get("default")))
        if key in (required or ()):
            default = "**required**"
        elif isinstance(schema.get("default"), dict) and "$ref" in schema:
            default = "those of its keys"
        rows.append([code(key), value_of(schema), default, plain(schema.get("description", ""))])
    return table(["key", "value", "default", "meaning"], rows, "15 25 20 40")


def value_of(schema: dict[str, Any]) -> str:
    """Return in words which values a schema allows."""
    if "$ref" in schema:
        return PARTS.get(schema["$ref"].rsplit("/", 1)[1], "mapping")
    if "anyOf" in schema:
        # a suggestion of names stands beside any text, a grid beside one value
        words = [value_of(each) for each in schema["anyOf"] if "enum" not in each or len(schema["anyOf"]) == 1]
        names = [value_of(each) for each in schema["anyOf"] if "enum" in each]
        return " or ".join(dict.fromkeys(words if "text" in words else names + words))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value).strip('"')) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list: {value_of(schema['items'])}"
    if kind in ("integer", "number"):
        return {"integer": "whole number", "number": "number"}[kind] + _range(schema)
    return {"string": "text", "boolean": "true or false", "object": "mapping", "null": "null"}.get(kind, "any")


def _range(schema: dict[str, Any]) -> str:
    """The range of a number as an interval, with a leading space; empty without one."""
    low, high = schema.get("minimum"), schema.get("maximum")
    opening, closing = "[", "]"
    if "exclusiveMinimum" in schema:
        low, opening = schema["exclusiveMinimum"], "("
    if "exclusiveMaximum" in schema:
        high, closing = schema["exclusiveMaximum"], ")"
    if low is None and high is None:
        return ""
    ends = ["-inf" if low is None else _number(low), "inf" if high is None else _number(high)]
    return f" in {opening}{', '.join(ends)}{closing}"


def _number(value: float) -> str:
    for power in (14, 16, 24, 31, 32):
        if value == 2**power:
            return f"2^{power}"
    return f"{value:g}".replace("e+0", "e")
