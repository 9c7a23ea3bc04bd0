"""Check plain data that was read from a results folder.

Every check raises ValueError that names the wrong field. The checks are written by hand, since thousands of records are
read before a table is printed. Fields unknown to this version may hold any JSON: a later version may write
more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from typing import Any

from vqbench.spec import PARTS

WORDS = ("nan", "inf", "-inf")  # numbers that JSON lacks
LARGEST = 2**63  # larger than any count
LONGEST = 1e12  # seconds
RECORD = frozenset(("format", "key", "run", "values", "made", "history"))
EXTERNAL = frozenset(("format", "key", "label", "suite", "dataset", "images", "given", "values", "made"))
SIDE = frozenset(("name", "kind", "images", "digest"))
CODES = frozenset(("num_codes", "depth", "digest", "bits_per_image"))
VALUE = frozenset(("value", "metric_version", "protocol_version", "images"))
KEY = re.compile(r"[0-9a-f]{16}")
NAME = re.compile(r"\w[\w.+-]*")  # of a plugin


def whole(value: Any, where: str) -> None:
    """Require a count, a version or a seed."""
    if type(value) is not int or not 0 <= value < LARGEST:
        raise ValueError(f"{where} is {_shown(value)}, not a count")


def text(value: Any, where: str) -> None:
    """Require text."""
    if type(value) is not str:
        raise ValueError(f"{where} is {_shown(value)}, not text")


def seconds(value: Any, where: str) -> None:
    """Require a number of seconds."""
    if type(value) not in (int, float) or not 0 <= value <= LONGEST:
        raise ValueError(f"{where} is {_shown(value)}, not a number of seconds")


def number(value: Any, where: str) -> None:
    """Require a number, a word for one that JSON lacks, or None."""
    kind = type(value)
    if kind is float:
        if not -1.8e308 < value < 1.8e308:
            raise ValueError(f"{where} is {value}, too large a number")
    elif kind is int:
        if not -LARGEST < value < LARGEST:
            raise ValueError(f"{where} is too large a number")
    elif value is not None and value not in WORDS:
        raise ValueError(f"{where} is {_shown(value)}, not a number")


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Require a mapping, and return it."""
    if type(value) is not dict:
        raise ValueError(f"{where} is {_shown(value)}, not a mapping")
    return value


def items(value: Any, where: str) -> list[Any]:
    """Require a list, and return it."""
    if type(value) is not list:
        raise ValueError(f"{where} is {_shown(value)}, not a list")
    return value


def texts(value: Any, where: str) -> None:
    """Require a list of texts."""
    for each in items(value, where):
        text(each, where)


def record(content: Any, exact: bool = False) -> None:
    """Check the content of ``record.json``, without its digest.

    ``exact`` allows no further fields.

    Of the run, only the parts that name files are checked here.
    """
    _require_fields(content, RECORD, "it", exact)
    text(content["key"], "key")
    run(content["run"])
    _values(content["values"], exact)
    made(content["made"])
    history(content["history"])


def external(content: Any) -> None:
    """Check the content of ``external.json``, without its digest."""
    _require_fields(content, EXTERNAL, "it")
    for name in ("key", "label", "suite"):
        text(content[name], name)
    dataset = content["dataset"]
    _require_fields(dataset, {"name", "version", "args"}, "dataset")
    _plugin_name(dataset["name"], "dataset")
    whole(dataset["version"], "dataset: version")
    mapping(dataset["args"], "dataset: args")
    whole(content["images"], "images")
    given = content["given"]
    _require_fields(given, {"originals", "reconstructions", "pairs", "codes", "matched_by"}, "given")
    for side in ("originals", "reconstructions"):
        _require_fields(given[side], SIDE, f"given: {side}")
        whole(given[side]["images"], f"given: {side}: images")
        for name in ("name", "kind", "digest"):
            text(given[side][name], f"given: {side}: {name}")
    for name in ("pairs", "matched_by"):
        text(given[name], f"given: {name}")
    if given["codes"] is not None:
        _require_fields(given["codes"], CODES, "given: codes")
        for name in ("num_codes", "depth"):
            whole(given["codes"][name], f"given: codes: {name}")
        text(given["codes"]["digest"], "given: codes: digest")
        number(given["codes"]["bits_per_image"], "given: codes: bits_per_image")
    if "rate" in given:
        number(mapping(given["rate"], "given: rate").get("bits_per_image"), "given: rate: bits_per_image")
        _known(given["rate"], {"counted": text, "codec": text}, "given: rate")
    _values(content["values"], exact=False)
    _known(mapping(content["made"], "made"), {**MEASURED, "by": text}, "made")


def run(content: Any) -> None:
    """Check the parts of a run's description that name files and folders.

    RunSpec.from_dict checks the rest.
    """
    for part in PARTS:
        _plugin_name(mapping(mapping(content, "run").get(part), f"run: {part}").get("name"), f"run: {part}")
    if content.get("parent") is not None and not (type(content["parent"]) is str and KEY.fullmatch(content["parent"])):
        raise ValueError(f"run: parent is {_shown(content['parent'])}, not a run's key")


def failure(content: Any) -> None:
    """Check the content of ``failed.json``."""
    _require_fields(content, {"reason", "log"}, "it", exact=True)
    text(content["reason"], "reason")
    texts(content["log"], "log")


def history(content: Any) -> None:
    """Check the history: one mapping per epoch.

    Values with the name of a known quantity are numbers.
    """
    for position, epoch in enumerate(items(content, "history")):
        where = f"history: {position}"
        for name, value in mapping(epoch, where).items():
            kind = type(value)
            if kind is float and -1.8e308 < value < 1.8e308 and name != "epoch":
                continue  # nearly all of them
            if name == "epoch":
                whole(value, f"{where}: epoch")
            elif name in QUANTITIES or kind in (int, float):
                number(value, f"{where}: {name}")


QUANTITIES = frozenset(("loss", "error", "selection_error", "usage", "perplexity", "dead", "revived", "update"))


def made(content: Any) -> None:
    """Check the provenance of a record."""
    _require_fields(content, {"seconds"}, "made")
    _known(content, MADE, "made")
    for position, each in enumerate(content.get("measured", ())):
        where = f"made: measured: {position}"
        _require_fields(each, {"seconds", "metrics"}, where)
        _known(each, MEASURED, where)
    for position, origin in enumerate(content.get("origins", ())):
        where = f"made: origins: {position}"
        _require_fields(origin, ORIGIN.keys(), where)
        _known(origin, ORIGIN, where)


def _plugin_name(value: Any, where: str) -> None:
    if type(value) is not str or not NAME.fullmatch(value):
        raise ValueError(f"{where}: {_shown(value)} is not a plugin's name")


def _values(content: Any, exact: bool) -> None:
    for protocol, metrics in mapping(content, "values").items():
        for metric, value in mapping(metrics, f"values: {protocol}").items():
            _value(value, f"values: {protocol}: {metric}", exact)


def _value(value: Any, where: str, exact: bool) -> None:
    _require_fields(value, VALUE, where, exact)
    number(value["value"], where)
    for name in ("metric_version", "protocol_version", "images"):
        whole(value[name], f"{where}: {name}")


def _require_fields(content: Any, names: Set[str], where: str, exact: bool = False) -> None:
    """Require a mapping with the fields ``names``; if ``exact``, no others."""
    fields = mapping(content, where).keys()
    if names - fields or (exact and fields - names):
        raise ValueError(f"{where}: its fields are {_names(fields)}, not {_names(names)}")


def _known(content: Mapping[str, Any], checks: Mapping[str, Callable[[Any, str], Any]], where: str) -> None:
    """Check the known fields that are present, and ignore others."""
    for name, check in checks.items():
        if name in content:
            check(content[name], f"{where}: {name}")


def _versions(value: Any, where: str) -> None:
    for name, version in mapping(value, where).items():
        text(version, f"{where}: {name}")


def _metrics(value: Any, where: str) -> None:
    for protocol, names in mapping(value, where).items():
        texts(names, f"{where}: {protocol}")


def _commit(value: Any, where: str) -> None:
    if value is not None:
        text(value, where)


MEASURED: Mapping[str, Callable[[Any, str], Any]] = {
    "commit": _commit,
    "versions": _versions,
    "device": text,
    "threads": whole,
    "date": text,
    "devices": whole,
    "seconds": seconds,
    "metrics": _metrics,
    "encode_speed": number,
    "decode_speed": number,
}
MADE = {**MEASURED, "parameters": whole, "measured": items, "origins": items}
ORIGIN: Mapping[str, Callable[[Any, str], Any]] = {
    "device": text,
    "cpu": text,
    "instructions": text,
    "threads": whole,
}


def _shown(value: Any) -> str:
    """Return the value for a message, cut short."""
    shown = repr(value) if not isinstance(value, dict | list) else f"a {type(value).__name__}"
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _names(names: Any) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:10]) + (", ..." if len(listed) > 10 else "")
