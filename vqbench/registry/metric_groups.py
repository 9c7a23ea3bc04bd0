"""Groups of metrics, by what each metric declares.

>>> from vqbench.protocol import MEASURE
>>> "psnr" in members("fast", MEASURE.values()), "rfid" in members("fast", MEASURE.values())
(True, False)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vqbench.errors import UsageError
from vqbench.registry.discovery import names
from vqbench.registry.loading import contained, load

if TYPE_CHECKING:
    from vqbench.protocol import MeasureProtocol

Protocols = Collection["MeasureProtocol"]


@dataclass(frozen=True)
class MetricGroup:
    """Metrics that are asked for by one name.

    Attributes:
        about: What they are, for messages and documents.
        has: Whether a class of metrics is one of them under these measuring protocols.
    """

    about: str
    has: Callable[[Any, Protocols], bool]


GROUPS: Mapping[str, MetricGroup] = MappingProxyType(
    {
        "fast": MetricGroup(
            "those that need no weights of a network",
            lambda metric, protocols: not any(metric.assets(each) for each in protocols),
        ),
        "paper": MetricGroup("those that the paper's tables print", lambda metric, protocols: metric.in_paper),
        "all": MetricGroup("all that apply", lambda metric, protocols: True),
    }
)
"""All groups by name."""


def groups_of(name: str, protocols: Protocols) -> tuple[str, ...]:
    """Return the groups that the metric ``name`` is in under ``protocols``."""
    metric = load("metrics", name)
    with contained("metrics", name):
        return tuple(group for group, each in GROUPS.items() if each.has(metric, protocols))


def members(group: str, protocols: Protocols) -> list[str]:
    """List the metrics of a group, whether they apply to some images or not.

    ``protocols`` are the measuring protocols, which decide what weights are needed.
    """
    return [name for name in names("metrics") if group in groups_of(name, protocols)]


def expanded(given: Sequence[str], applicable: Callable[[str], list[str]]) -> list[str]:
    """Replace a group among ``given`` names by its metrics.

    Args:
        given: Names of metrics, and of one group at most.
        applicable: Lists the metrics of a group that apply to what is measured.

    Raises:
        UsageError: Two groups, or a group of which no metric applies.
    """
    groups = [name for name in dict.fromkeys(given) if name in GROUPS]
    if len(groups) > 1:
        about = "; ".join(f"{name}: {GROUPS[name].about}" for name in groups)
        raise UsageError(f"{' and '.join(groups)} are groups of metrics, of which one is taken; name one ({about})")
    names_of = {name: applicable(name) for name in groups}
    for name, found in names_of.items():
        if not found:
            raise UsageError(f"{name}: none of its metrics applies here ({GROUPS[name].about}); name others")
    return list(dict.fromkeys(each for name in given for each in names_of.get(name, [name])))
