"""Write, check and read resolved suites, ``STORE/suites/NAME.json``.

None of it needs torch. Every check raises ValueError. Nothing in a file names code but plugins by kind and name, which
the registry resolves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from vqbench.errors import StoreError, VqbenchError
from vqbench.planning.plan import DatasetInfo, Length, MetricInfo, Plan, PlannedRun
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.yamlfile import parse
from vqbench.registry import CONTRACTS
from vqbench.spec import RunSpec
from vqbench.store import schema
from vqbench.store.results import ResultStore
from vqbench.store.value_name import Sampling
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

FIELDS = ("inputs", "suite", "entries", "metrics", "datasets")
Checks = Mapping[str, Callable[[Any, str], Any]]


def path_of(store: ResultStore, name: str) -> Path:
    """The file of the plan ``name`` in ``store``."""
    return store.root / "suites" / f"{name}.json"


def save(plan: Plan, store: ResultStore) -> None:
    """Write ``plan`` into ``store``, in place of an earlier one of its name.

    Raises StoreError.
    """
    content = {
        "inputs": plan.inputs,
        "suite": plan.suite.dump(),
        "entries": [_entry_to_dict(entry) for entry in plan.entries],
        "metrics": {name: asdict(info) for name, info in plan.metrics.items()},
        "datasets": {name: asdict(info) for name, info in plan.datasets.items()},
        "sampling": plan.sampling and f":{plan.sampling.name}",
        "lengths": {key: asdict(length) for key, length in plan.lengths.items()},
    }
    text = json.dumps({**content, "digest": _digest_of(content)}, indent=1)
    write_atomically(path_of(store, plan.name), f"{text}\n".encode())


def read(path: Path) -> dict[str, Any]:
    """Read the content of a file that :func:`save` wrote.

    Raises ValueError for any other content, and OSError if there is no such file.
    """
    content: dict[str, Any] = stored_files.json_of(path)
    schema.mapping(content, "it")
    if content.pop("digest", None) not in (None, _digest_of(content)):  # the first were written without one
        raise ValueError("its content does not fit its digest")
    for entry in schema.items(content.get("entries", []), "entries"):
        if isinstance(entry, dict) and "ceiling" in entry:  # the name in files of earlier versions
            entry["upper_bound"] = entry.pop("ceiling")
    _check(content)
    return content


def plan_of(spec: SuiteSpec, content: Mapping[str, Any], variant: bool) -> Plan:
    """The plan that a ``content`` which was :func:`read` describes."""
    entries = [_entry_from_dict(entry) for entry in content["entries"]]
    infos = {
        name: MetricInfo(**{**info, "groups": tuple(info.get("groups", ()))})
        for name, info in content["metrics"].items()
    }
    datasets = {name: DatasetInfo(**info) for name, info in content["datasets"].items()}
    sampling = _sampling(content["sampling"]) if content.get("sampling") else None
    lengths = {key: Length(**length) for key, length in content.get("lengths", {}).items()}
    return Plan(spec, entries, infos, datasets, content["inputs"], variant, sampling, lengths)


def stored(store: ResultStore) -> list[Plan]:
    """Read every suite that was resolved for ``store``, as it was then.

    A damaged file is noted in the store's damage.
    """
    plans = []
    for path in sorted((store.root / "suites").glob("*.json")):
        try:
            content = read(path)
            spec = SuiteSpec.from_document(parse(content["suite"], str(path)))
            plans.append(plan_of(spec, content, path.stem != spec.name))
        except (OSError, ValueError, VqbenchError) as error:
            store.damage[path] = f"{path}: not a resolved suite ({error}); delete it, `vqbench run` writes it anew"
    return plans


def _entry_to_dict(entry: PlannedRun) -> dict[str, Any]:
    content = {**asdict(entry), "run": entry.run.to_dict(), "key": entry.run.key}
    return {**content, "second": entry.second and entry.second.to_dict()}


def _entry_from_dict(content: dict[str, Any]) -> PlannedRun:
    runs: dict[str, Any] = {n: RunSpec.from_dict(content[n]) for n in ("run", "second") if content.get(n)}
    return PlannedRun(**{k: v for k, v in content.items() if k not in ("run", "second", "key")}, **runs)


def _sampling(text: str) -> Sampling:
    return Sampling.parse(text.removeprefix(":"))


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# Checks ---------------------------------------------------------------------------------------------------------------


def _check(content: Mapping[str, Any]) -> None:
    """Raise ValueError unless ``content`` has every part of a plan."""
    if lacking := [name for name in FIELDS if name not in content]:
        raise ValueError(f"{lacking[0]} is missing")
    _check_inputs(content["inputs"])
    schema.text(content["suite"], "suite")
    names, needed = _fields(PlannedRun)
    needed |= {"key", "upper_bound"}
    for position, each in enumerate(schema.items(content["entries"], "entries")):
        _check_fields(each, ENTRY, names | {"key"}, needed, f"entries: {position}")
        _check_runs(each, f"entries: {position}", content["datasets"])
    for kind, checks, declared in (("metrics", METRIC, MetricInfo), ("datasets", DATASET, DatasetInfo)):
        for name, info in schema.mapping(content[kind], kind).items():
            _check_fields(info, checks, *_fields(declared), f"{kind}: {name}")
    if not content["entries"]:
        raise ValueError("it has no run")
    if content.get("sampling") is not None:
        schema.text(content["sampling"], "sampling")
        _sampling(content["sampling"])


def _check_inputs(content: Any) -> None:
    for name in ("suite", "vqbench"):
        schema.text(schema.mapping(content, "inputs").get(name), f"inputs: {name}")
    for plugin, digest in schema.mapping(content.get("plugins"), "inputs: plugins").items():
        kind, slash, name = plugin.partition("/")
        if kind not in CONTRACTS or not slash or not schema.NAME.fullmatch(name):
            raise ValueError(f"inputs: plugins: {plugin[:60]!r} is no plugin")
        if digest is not None:
            schema.text(digest, f"inputs: plugins: {plugin}")
    schema.texts(content.get("settled", []), "inputs: settled")


def _check_runs(content: Mapping[str, Any], where: str, datasets: Any) -> None:
    """Raise ValueError unless an entry agrees with its runs and data sets."""
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


def _check_fields(content: Any, checks: Checks, names: set[str], needed: set[str], where: str) -> None:
    """Raise ValueError unless ``content`` has the right fields.

    These are all ``needed`` ones and no others than ``names``, each of its type.
    """
    present = schema.mapping(content, where).keys()
    if wrong := (present - names) | (needed - present):
        raise ValueError(f"{where}: {sorted(wrong)[0][:40]!r} is unknown or missing")
    for name in present & checks.keys():
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
    "upper_bound": _truth,
    "batch_dependent": _truth,
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
    "rate": _truth,
    "of_codes": _truth,
    "groups": schema.texts,
}
DATASET: Checks = {
    "title": schema.text,
    "train": schema.whole,
    "test": schema.whole,
    "holdout": schema.whole,
    "notes": schema.texts,
    "size": _maybe(schema.whole),
}
