"""The JSON schema of suite files, by which editors complete and check them.

``suites/schema.json`` is what :func:`suite_schema` returns. After a change of a suite's keys or of a built-in plugin's
arguments, ``python tools/suite_schema.py`` writes it anew; a test compares the two.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from vqbench import registry
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_files import PACKAGE
from vqbench.planning.suite_parts import BUDGET, EXTRA_COLUMNS, ROW_KEYS, SAMPLE_KEYS
from vqbench.protocol import MEASURE, TRAIN
from vqbench.registry import Kind

FILE = "schema.json"  # beside the suites
HEADER = "# yaml-language-server: $schema={}\n"  # the first line of a suite, for editors

Schema = dict[str, Any]


def schema_path() -> Path:
    """Return the path of the schema file, of a checkout if there is one."""
    beside = PACKAGE.parent / "suites" / FILE
    return beside if beside.is_file() else PACKAGE / "suites" / FILE


def suite_schema() -> Schema:
    """Return the JSON schema of a suite, with the arguments of all built-in plugins.

    Names of plugins stay open, since a suite can name plugins of files and packages; arguments of built-in plugins,
    and keys of the suite, its rows, its budget and its table are closed. What depends on several keys, such as two rows
    with one label, only ``vqbench plan`` finds.
    """
    schema: Schema = _plain(SuiteSpec.model_json_schema())
    defs, keys = schema["$defs"], schema["properties"]
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A suite of vqbench"}
    schema["description"] = "Which quantizers are compared, on which data, in which table."
    recipes = _classes("recipes")
    first = {name: cls for name, cls in recipes.items() if not cls.second_stage}
    second = {name: cls for name, cls in recipes.items() if cls.second_stage}
    training = {**{name: first[protocol.recipe] for name, protocol in TRAIN.items()}, **first}
    metrics = [name for name in registry.names("metrics") if _built_in("metrics", name)]
    quantizers, backbones, datasets = _classes("quantizers"), _classes("backbones"), _classes("datasets")
    defs |= {
        "Training": _plugin(training),
        "Backbone": _plugin(backbones),
        "Dataset": _plugin(datasets),
        "SecondStage": _plugin(second),
        "Metric": _suggested(metrics),
        "QuantizerRow": _row(defs["QuantizerRow"], quantizers),
        "SampleSettings": _samples(defs["SampleSettings"], second),
    }
    del defs["Plugin"]
    defs |= {cls.__name__: _arguments(cls) for each in (recipes, backbones, datasets) for cls in each.values()}
    defs |= {cls.__name__: _arguments(cls, grid=True) for cls in quantizers.values()}
    keys["name"]["pattern"] = "^[A-Za-z][A-Za-z0-9_-]{0,63}$"
    keys["train"] |= _ref("Training")
    keys["backbone"] |= _ref("Backbone")
    keys["generate"]["anyOf"] = [_ref("SecondStage"), {"type": "null"}]
    keys["datasets"] |= {"items": _ref("Dataset"), "minItems": 1}
    keys["quantizers"] |= {"minItems": 1}
    keys["measure"] |= {"items": {"enum": list(MEASURE)}, "minItems": 1, "uniqueItems": True}
    keys["metrics"] |= {"items": _ref("Metric"), "minItems": 1, "uniqueItems": True}
    keys["seeds"] |= {"minItems": 1, "uniqueItems": True}
    table = defs["TableSpec"]["properties"]
    columns = {"type": "array", "items": _suggested([*metrics, *EXTRA_COLUMNS]), "minItems": 1, "uniqueItems": True}
    table["columns"]["anyOf"] = [columns, {"type": "null"}]
    table["protocol"] = {**table["protocol"], "anyOf": [{"enum": list(MEASURE)}, {"type": "null"}]}
    return schema


def _row(model: Schema, quantizers: Mapping[str, Any]) -> Schema:
    """The schema of a row: a quantizer's name, or a mapping with the name as a key."""
    keys = {key: model["properties"][key] for key in ROW_KEYS}
    keys["on"]["additionalProperties"] = {"type": ["object", "null"]}
    keys["backbone"]["anyOf"][0] = _ref("Backbone")
    keys["train"]["anyOf"][0] = _ref("Training")
    mapping = {
        "type": "object",
        "properties": {**keys, **{name: _ref(cls.__name__) for name, cls in quantizers.items()}},
        "additionalProperties": {"type": ["object", "null"]},  # a quantizer of a file or package
        "minProperties": 1,
        "not": {"propertyNames": {"enum": list(ROW_KEYS)}},  # no quantizer
    }
    return {"description": model["description"], "anyOf": [_suggested(quantizers), mapping]}


def _samples(model: Schema, recipes: Mapping[str, Any]) -> Schema:
    """The schema of samples: its own keys, and settings of second stages."""
    keys = {key: model["properties"][key] for key in SAMPLE_KEYS}
    for name, recipe in recipes.items():
        for setting, default in recipe.sampler.items():
            keys[setting] = {"description": f"a setting of {name}; default {default}"}
    return {**model, "properties": keys, "additionalProperties": {"type": ["number", "null"]}}


# Plugins --------------------------------------------------------------------------------------------------------------


def _plugin(classes: Mapping[str, Any]) -> Schema:
    """The schema of a plugin: its name, or one name with arguments."""
    mapping = {
        "type": "object",
        "properties": {name: _ref(cls.__name__) for name, cls in classes.items()},
        "additionalProperties": {"type": ["object", "null"]},  # a plugin of a file or package
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [_suggested(classes), mapping]}


def _arguments(cls: Any, grid: bool = False) -> Schema:
    """The schema of the arguments of a built-in plugin.

    In a ``grid``, lists of values are valid too. Nothing is required: a protocol, a preset or the suite may give it.
    """
    known = {}
    for name, (annotation, default) in registry.parameters(cls):
        if name in BUDGET and grid:
            continue
        value = _plain(TypeAdapter(annotation, config=ConfigDict(strict=True)).json_schema())
        if grid:
            value = {"anyOf": [value, {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}]}
        known[name] = value if default is inspect.Parameter.empty else {**value, "default": default}
    about = str(inspect.getdoc(cls) or getattr(cls, "title", "")).split("\n")[0]
    return {"type": ["object", "null"], "description": about, "properties": known, "additionalProperties": False}


def _classes(kind: Kind) -> dict[str, Any]:
    """The classes of built-in plugins and presets, by name."""
    classes = {name: registry.load(kind, name) for name in registry.names(kind) if _built_in(kind, name)}
    presets = registry.presets(kind).items()
    return classes | {preset: classes[plugin] for preset, (plugin, _) in presets if plugin in classes}


def _built_in(kind: Kind, name: str) -> bool:
    return registry.sources(kind)[name].origin == "built-in"


# Schemas --------------------------------------------------------------------------------------------------------------


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _suggested(names: Iterable[str]) -> Schema:
    """Any text; editors suggest ``names``."""
    return {"anyOf": [{"enum": list(names)}, {"type": "string"}]}


def _plain(schema: Any) -> Any:
    """A schema without pydantic's titles, which repeat the names of keys."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _plain(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
