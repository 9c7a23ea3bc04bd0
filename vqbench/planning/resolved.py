"""The form of a resolved suite on disk, ``STORE/suites/NAME.json``. Every check raises ValueError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from vqbench.errors import StoreError
from vqbench.registry import CONTRACTS
from vqbench.spec import RunSpec
from vqbench.store import schema
from vqbench.store.sampling import Sampling

FIELDS = ("inputs", "suite", "entries", "metrics", "datasets")
Checks = Mapping[str, Callable[[Any, str], Any]]


def check(content: Mapping[str, Any], entry: type, metric: type, dataset: type) -> None:
    """All that a plan is made of: its dataclasses ``entry``, ``metric`` and ``dataset``.

    Nothing in it names code but plugins by kind and name, which only the registry resolves.
    """
    if lacking := [name for name in FIELDS if name not in content]:
        raise ValueError(f"{lacking[0]} is missing")
    _inputs(content["inputs"])
    schema.text(content["suite"], "suite")
    names, needed = _fields(entry)
    for position, each in enumerate(schema.items(content["entries"], "entries")):
        _only(each, ENTRY, names | {"key"}, needed | {"key"}, f"entries: {position}")
        _agrees(each, f"entries: {position}", content["datasets"])
    for kind, checks, declared in (("metrics", METRIC, metric), ("datasets", DATASET, dataset)):
        for name, info in schema.mapping(content[kind], kind).items():
            _only(info, checks, *_fields(declared), f"{kind}: {name}")
    if not content["entries"]:
        raise ValueError("it has no run")
    if content.get("sampling") is not None:
        schema.text(content["sampling"], "sampling")
        Sampling.parse(content["sampling"].removeprefix(":"))


def _inputs(content: Any) -> None:
    for name in ("suite", "vqbench"):
        schema.text(schema.mapping(content, "inputs").get(name), f"inputs: {name}")
    for plugin, digest in schema.mapping(content.get("plugins"), "inputs: plugins").items():
        kind, slash, name = plugin.partition("/")
        if kind not in CONTRACTS or not slash or not schema.NAME.fullmatch(name):
            raise ValueError(f"inputs: plugins: {plugin[:60]!r} is no plugin")
        if digest is not None:
            schema.text(digest, f"inputs: plugins: {plugin}")
    schema.texts(content.get("settled", []), "inputs: settled")


def _agrees(content: Mapping[str, Any], where: str, datasets: Any) -> None:
    """An entry with its own runs, and with the data sets of the plan."""
    run = _run(content["run"], f"{where}: run")
    if content["key"] != run.key:
        raise ValueError(f"{where}: its key is not that of its run")
    if content.get("second") is not None and _run(content["second"], f"{where}: second").parent != run.key:
        raise ValueError(f"{where}: second builds on another run")
    if content["dataset"] not in schema.mapping(datasets, "datasets"):
        raise ValueError(f"{where}: its data set is unknown")


def _run(content: Any, where: str) -> RunSpec:
    schema.run(content)
    try:
        return RunSpec.from_dict(content)
    except StoreError as error:
        raise ValueError(f"{where}: {error}") from error


def _fields(declared: type) -> tuple[set[str], set[str]]:
    """The names of a dataclass's fields, and of those without a default."""
    every = fields(declared)
    needed = [each for each in every if each.default is MISSING and each.default_factory is MISSING]
    return {each.name for each in every}, {each.name for each in needed}


def _only(content: Any, checks: Checks, names: set[str], needed: set[str], where: str) -> None:
    """All fields that are ``needed``, and no others than ``names``, each as its check wants it."""
    found = schema.mapping(content, where).keys()
    if wrong := (found - names) | (needed - found):
        raise ValueError(f"{where}: {sorted(wrong)[0][:40]!r} is unknown or missing")
    for name in found & checks.keys():
        checks[name](content[name], f"{where}: {name}")


def _truth(value: Any, where: str) -> None:
    if type(value) is not bool:
        raise ValueError(f"{where} is neither true nor false")


def _scalar(value: Any, where: str) -> None:
    if type(value) not in (str, bool, type(None)):
        schema.number(value, where)


def _maybe(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, where: None if value is None else check(value, where)


def _direction(value: Any, where: str) -> None:
    if value not in ("min", "max", None, ""):
        raise ValueError(f"{where} is neither min nor max")


ENTRY: Checks = {
    "label": schema.text,
    "row": schema.whole,
    "dataset": schema.text,
    "seed": schema.whole,
    "group": _scalar,
    "run": schema.mapping,
    "key": schema.text,
    "second": _maybe(schema.mapping),
    "ceiling": _truth,
    "paper_row": _maybe(schema.text),
    "paper_setting": _maybe(schema.text),
    "latent": _maybe(schema.text),
    "codes": _maybe(schema.whole),
}
METRIC: Checks = {
    "label": schema.text,
    "unit": schema.text,
    "better": _direction,
    "digits": schema.whole,
    "version": schema.whole,
    "few": schema.whole,
    "of_samples": _truth,
}
DATASET: Checks = {
    "title": schema.text,
    "train": schema.whole,
    "test": schema.whole,
    "holdout": schema.whole,
    "notes": schema.texts,
}
