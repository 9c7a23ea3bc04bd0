"""The conditions under which our values are the printed quantities."""

from __future__ import annotations

from vqbench.planning.plan import Plan
from vqbench.planning.schema import Codebook, Plugin

TRAINING = "official"  # the training protocol of tables B.1, B.3 and B.4
MEASURING = "official"  # their measuring protocol
BACKBONE = "conv"  # their backbone; their codebook is a suite's default

WHOLE_SYSTEMS = "B.2"  # the table of whole systems on photographs
WHOLE_SYSTEMS_MEASURING = "clean"
WHOLE_SYSTEMS_SIZE = 256  # pixels


def not_comparable(plan: Plan, protocol: str) -> str:
    """Why none of a table's values is the printed quantity, if so."""
    suite = plan.suite
    if suite.reduced:
        return "reduced training"
    if suite.paper == WHOLE_SYSTEMS:
        return _whole_systems(plan, protocol)
    if suite.train.name != TRAINING or suite.train.args:
        other = f" with other {', '.join(suite.train.args)}" if suite.train.args else ""
        return f"trained under {suite.train.name}{other}, printed under what corresponds to {TRAINING}"
    if any(row.train or row.backbone or row.codebook for row in suite.quantizers):
        return "a row has a training, backbone or codebook of its own"
    if suite.backbone != Plugin(name=BACKBONE) or suite.codebook != Codebook():
        return "another backbone or codebook than the paper's"
    if protocol != MEASURING:
        return f"measured under {protocol}, printed under what corresponds to {MEASURING}"
    return ""


def _whole_systems(plan: Plan, protocol: str) -> str:
    """Likewise for the table of photographs, of which the paper says neither how SSIM nor LPIPS was computed."""
    if protocol != WHOLE_SYSTEMS_MEASURING:
        return f"measured under {protocol}; nothing says that the printed values were"
    lacking = [note for info in plan.datasets.values() for note in info.notes]
    if lacking:
        return f"other images than the paper's: {lacking[0].removesuffix('.')}"
    sizes = {entry.run.dataset.args.get("size") for entry in plan.entries}
    return (
        ""
        if sizes == {WHOLE_SYSTEMS_SIZE}
        else f"images of {', '.join(map(str, sizes))} pixels, not {WHOLE_SYSTEMS_SIZE}"
    )
