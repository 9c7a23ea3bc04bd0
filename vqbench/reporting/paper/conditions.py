"""State under which conditions our values are the printed quantities."""

from __future__ import annotations

from dataclasses import replace

from vqbench.planning.plan import Plan
from vqbench.planning.schema import Plugin
from vqbench.planning.suite_parts import Codebook
from vqbench.spec import RunSpec

TRAINING = "official"  # the training protocol of tables B.1, B.3 and B.4
MEASURING = "official"  # their measuring protocol
BACKBONE = "conv"  # their backbone; their codebook is a suite's default

WHOLE_SYSTEMS = "B.2"  # the table of whole systems on photographs
WHOLE_SYSTEMS_MEASURING = "clean"
WHOLE_SYSTEMS_SIZE = 256  # pixels

PRECISION = "precision"  # the argument of a recipe for its precision; EXACT if absent
EXACT = "float32"  # the precision of the paper's trainings
ROUNDED = ("bf16", "tf32")  # precisions that are compared with the printed values too, with a footnote


def not_comparable(plan: Plan, protocol: str) -> str:
    """Return why no value under ``protocol`` is the printed quantity, or ""."""
    suite = plan.suite
    if suite.reduced:
        return "reduced training"
    if suite.paper == WHOLE_SYSTEMS:
        return _whole_systems(plan, protocol)
    changed = [name for name, value in suite.train.args.items() if name != PRECISION or value not in (EXACT, *ROUNDED)]
    if suite.train.name != TRAINING or changed:
        other = f" with other {', '.join(changed)}" if changed else ""
        return f"trained under {suite.train.name}{other}; the printed values correspond to {TRAINING}"
    if any(row.train or row.backbone or row.codebook for row in suite.quantizers):
        return "a row overrides training, backbone or codebook"
    if suite.backbone != Plugin.model_validate(BACKBONE) or suite.codebook != Codebook():
        return "another backbone or codebook than the paper's"
    if protocol != MEASURING:
        return f"measured under {protocol}; the printed values correspond to {MEASURING}"
    return ""


def _whole_systems(plan: Plan, protocol: str) -> str:
    """Like :func:`not_comparable`, for the table of photographs.

    The paper states neither its SSIM nor its LPIPS there.
    """
    if protocol != WHOLE_SYSTEMS_MEASURING:
        return f"measured under {protocol}; the protocol of the printed values is not stated"
    lacking = [note for info in plan.datasets.values() for note in info.notes]
    if lacking:
        return f"other images than the paper's: {lacking[0].removesuffix('.')}"
    sizes = {info.size for info in plan.datasets.values()}
    return (
        ""
        if sizes == {WHOLE_SYSTEMS_SIZE}
        else f"images of {', '.join(map(str, sizes))} pixels, not {WHOLE_SYSTEMS_SIZE}"
    )


def rounding_allowed(plan: Plan) -> bool:
    """Return whether runs of ``plan`` may differ from the paper's in precision."""
    suite = plan.suite
    return suite.paper not in (None, WHOLE_SYSTEMS) and suite.train.name == TRAINING and not suite.reduced


def rounded_runs(run: RunSpec) -> list[RunSpec]:
    """Return ``run`` in the other precisions whose records may replace its own.

    In order of preference. Empty if ``run`` itself has another precision than float32.
    """
    if run.recipe.args.get(PRECISION, EXACT) != EXACT:
        return []
    recipes = [replace(run.recipe, args={**run.recipe.args, PRECISION: precision}) for precision in ROUNDED]
    return [replace(run, recipe=recipe) for recipe in recipes]


def rounding(run: RunSpec) -> str:
    """Return the precision of ``run`` if it needs a footnote, else ""."""
    precision: str = run.recipe.args.get(PRECISION, EXACT)
    return precision if precision in ROUNDED else ""


def rounding_note(precision: str) -> str:
    """Return the footnote on a value that was trained in ``precision``."""
    return f"trained in {precision}; only rounding differs"
