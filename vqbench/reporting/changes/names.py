"""Short names of runs, which tell them apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from vqbench.spec import PARTS, RunSpec

K = TypeVar("K", bound=Hashable)
Place = tuple[str, str]  # a part of a run and the name of one of its arguments


def short_names(runs: Mapping[K, RunSpec]) -> dict[K, str]:
    """Name each run by data set, quantizer and the arguments that tell it apart.

    These are the ones that differ among runs of the same data set and quantizer. Arguments of the quantizer are in its
    parentheses; those of other parts follow, with the part's name.
    """
    facts = {key: _facts(run) for key, run in runs.items()}
    values: dict[tuple[str, str], dict[Place, set[str]]] = {}  # of the runs that share data set and quantizer
    for key, run in runs.items():
        known = values.setdefault(_parts(run), {})
        for place, value in facts[key].items():
            known.setdefault(place, set()).add(repr(value))
    return {key: _name(run, facts[key], values[_parts(run)]) for key, run in runs.items()}


def _name(run: RunSpec, facts: Mapping[Place, object], values: Mapping[Place, set[str]]) -> str:
    told = {place: value for place, value in facts.items() if len(values[place]) > 1}
    own = ", ".join(f"{name}={value}" for (part, name), value in told.items() if part == "quantizer")
    others = "".join(f", {part} {name}={value}" for (part, name), value in told.items() if part != "quantizer")
    return f"{run.dataset.name}: {run.quantizer.name}" + f"({own})" * bool(own) + others


def _parts(run: RunSpec) -> tuple[str, str]:
    return run.dataset.name, run.quantizer.name


def _facts(run: RunSpec) -> dict[Place, object]:
    """Every argument of a run by part and name; a part's own name is ``name``.

    The key of the run that it builds on is the last.
    """
    facts: dict[Place, object] = {}
    for name in PARTS:
        part = getattr(run, name)
        facts |= {(name, "name"): part.name, **{(name, key): value for key, value in part.args.items()}}
    if run.parent is not None:
        facts["parent", "key"] = run.parent
    return facts
