"""Whether several processes were started to train together, as ``torchrun`` does, and which of them this one is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vqbench.errors import UsageError

# Its import fails in every worker where one of them is no number, whether or not torchrun started the process.
_READ_BY_LIGHTNING = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


@dataclass(frozen=True)
class Launched:
    """This process among those that were started together."""

    rank: int
    size: int
    local_rank: int
    local_size: int  # processes on this machine


def launched() -> Launched | None:
    """What ``torchrun`` says of this process; None if nobody has started several.

    Raises UsageError for variables that say what cannot be.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        require_ranks()
        return None
    said = {name: os.environ[name] for name in names}
    found = Launched(*(int(value) if _is_number(value) else -1 for value in said.values()))
    if not (0 <= found.local_rank <= found.rank < found.size and found.local_rank < found.local_size <= found.size):
        what = ", ".join(f"{name}={value[:20]}" for name, value in said.items())
        raise UsageError(f"the environment says {what}, which no launcher would; unset these variables")
    return found if found.size > 1 else None


def require_ranks() -> None:
    """Raises UsageError for the variable of a rank that is no number, whoever has set it."""
    for name in _READ_BY_LIGHTNING:
        value = os.environ.get(name)
        if value is not None and not _is_number(value):
            raise UsageError(f"the environment says {name}={value[:20]}, which is no rank; unset this variable")


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 9
