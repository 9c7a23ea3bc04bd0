"""Cases and checks by the kind of plugin, and plugins by name or file."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from vqbench import registry
from vqbench.conformance.backbones import shape_checks, weight_checks
from vqbench.conformance.backbones.case import BackboneCase
from vqbench.conformance.case import OWN, Case
from vqbench.conformance.datasets import fact_checks, file_checks, pixel_checks
from vqbench.conformance.datasets.case import DatasetCase
from vqbench.conformance.metrics import declared_checks, image_checks, sample_checks, sum_checks
from vqbench.conformance.metrics.case import MetricCase
from vqbench.conformance.outcome import Check
from vqbench.conformance.quantizers import (
    contract_checks,
    evaluation_checks,
    gradient_checks,
    input_checks,
    rank_checks,
    state_checks,
)
from vqbench.conformance.quantizers.case import QuantizerCase
from vqbench.conformance.recipes import fact_checks as recipe_checks
from vqbench.conformance.recipes import training_checks
from vqbench.conformance.recipes.case import RecipeCase
from vqbench.errors import UsageError, nearest
from vqbench.registry import CONTRACTS, Kind
from vqbench.registry.checking import check_value
from vqbench.system.paths import path_of

CASES: Mapping[Kind, type[Case]] = {
    case.kind: case for case in (QuantizerCase, MetricCase, DatasetCase, BackboneCase, RecipeCase)
}
CHECKS: Mapping[Kind, tuple[Check, ...]] = {
    "quantizers": (
        *contract_checks.CHECKS,
        *gradient_checks.CHECKS,
        *evaluation_checks.CHECKS,
        *state_checks.CHECKS,
        *input_checks.CHECKS,
        *rank_checks.CHECKS,
    ),
    "metrics": (*declared_checks.CHECKS, *sum_checks.CHECKS, *image_checks.CHECKS, *sample_checks.CHECKS),
    "datasets": (*fact_checks.CHECKS, *pixel_checks.CHECKS, *file_checks.CHECKS),
    "backbones": (*shape_checks.CHECKS, *weight_checks.CHECKS),
    "recipes": (*recipe_checks.CHECKS, *training_checks.CHECKS),
}
WORDS: Mapping[str, Kind] = {kind[:-1]: kind for kind in CONTRACTS}  # "metric" -> "metrics"


def checks_of(case: Case) -> list[Check]:
    """Return the checks that are about a case."""
    return [check for check in CHECKS[case.kind] if check.applies is None or check.applies(case)]


def kind_named(word: str) -> Kind:
    """Return the kind of plugins that ``word`` names, such as "metric".

    Raises UsageError for any other word.
    """
    if word in CONTRACTS:
        return cast(Kind, word)
    if word not in WORDS:
        raise UsageError(f"unknown kind {word!r}; {nearest(word, WORDS)}")
    return WORDS[word]


def cases(
    plugin: str | Path | type,
    args: Mapping[str, Any],
    options: Mapping[str, Any],
    kind: Kind | None = None,
    beside: Path = Path(),
) -> list[Case]:
    """Return the cases of a plugin: one, or of a file one for each kind it defines.

    Args:
        plugin: a class, the path of a .py file, or a name.
        args: arguments of its constructor.
        options: further fields of the case, such as num_codes.
        kind: its kind, where a name is known in several, or a file defines several.
        beside: folder in which a path is looked for that does not exist as given.

    Raises:
        UsageError: an unknown plugin, argument or option, or a name of several kinds.
        BrokenPlugin: the plugin cannot be loaded.
    """
    if inspect.isclass(plugin):
        found: dict[Kind, tuple[str, type, Mapping[str, Any]]] = {
            each: (plugin.__name__, plugin, {}) for each in CONTRACTS if issubclass(plugin, _contract(each))
        }
        if not found:
            raise UsageError(f"{plugin.__name__} is no plugin; {_contracts()}")
    elif str(plugin).endswith(".py"):
        path = path_of(str(plugin)) if path_of(str(plugin)).exists() else beside / str(plugin)
        found = {each: (path.stem, cls, {}) for each, cls in registry.offered(path).items()}
        if not found:
            raise UsageError(f"{path}: defines no plugin; {_contracts()}; `vqbench new KIND NAME` writes one")
    else:
        found = {each: (str(plugin), *registry.find(each, str(plugin))[1:]) for each in _kinds_of(str(plugin), kind)}
    if kind is not None and kind not in found:
        raise UsageError(f"{plugin}: defines no {kind[:-1]}, only a {' and a '.join(each[:-1] for each in found)}")
    return [_case(each, *found[each], args, options) for each in found if kind in (None, each)]


def _case(
    kind: Kind,
    name: str,
    cls: type,
    preset: Mapping[str, Any],
    args: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Case:
    case, subject = CASES[kind], f"{kind[:-1]} {name!r}"
    known = {each.name for each in fields(case)} - set(OWN)
    if unknown := [option for option in options if option not in known]:
        raise UsageError(f"{subject} takes no {unknown[0]}; leave it out")
    usual = {**case.usual_args(cls), **preset}
    return case(name=name, cls=cls, args=usual | _checked(subject, cls, args, case(name, cls).fixed), **options)


def _checked(subject: str, cls: type, args: Mapping[str, Any], fixed: Collection[str]) -> dict[str, Any]:
    """Return ``args``, each of its declared type."""
    if not args:  # the checks find out whether the constructor keeps the contract
        return {}
    own = {name: annotation for name, (annotation, _) in registry.parameters(cls) if name not in fixed}
    for argument in args:
        if argument not in own:
            raise UsageError(f"{subject} has no argument {argument!r}; {nearest(argument, own)}")
    return {name: check_value(f"{subject}, argument {name!r}", value, own[name]) for name, value in args.items()}


def known(kind: Kind) -> list[str]:
    """List the names of all plugins and presets of a kind."""
    return [*registry.names(kind), *registry.presets(kind)]


def _kinds_of(name: str, kind: Kind | None) -> list[Kind]:
    """Return the kind that ``name`` is known in.

    Raises UsageError where there are several, or none.
    """
    found = [each for each in CONTRACTS if kind in (None, each) and name in known(each)]
    if len(found) > 1:
        kinds = " and a ".join(each[:-1] for each in found)
        options = " or ".join(f"--kind {each[:-1]}" for each in found)
        raise UsageError(f"{name!r} is a {kinds}; say which by {options}")
    if not found:
        everything = [each for every in CONTRACTS if kind in (None, every) for each in known(every)]
        close = difflib.get_close_matches(name, everything, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}? " if close else ""
        what = "plugin" if kind is None else kind[:-1]
        listed = "KIND" if kind is None else kind
        raise UsageError(f"unknown {what} {name!r}; {hint}`vqbench list {listed}` lists those known")
    return found


def _contract(kind: Kind) -> type:
    module, name = CONTRACTS[kind]
    contract: type = getattr(importlib.import_module(module), name)
    return contract


def _contracts() -> str:
    names = [name for _, name in CONTRACTS.values()]
    return f"a plugin is a subclass of {', '.join(names[:-1])} or {names[-1]}"
