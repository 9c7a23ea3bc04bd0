"""Read from torchrun's environment variables which rank this process is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vqbench.errors import UsageError


@dataclass(frozen=True)
class Launched:
    """This process among those that were started together."""

    rank: int
    size: int
    local_rank: int
    local_size: int  # processes on this machine


def launched() -> Launched | None:
    """Return the rank that ``torchrun`` gave this process, one of several; else None.

    Raises UsageError for impossible values, where all of its variables are set.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        return None
    values = {name: os.environ[name] for name in names}
    result = Launched(*(int(value) if _is_number(value) else -1 for value in values.values()))
    if not (
        0 <= result.local_rank <= result.rank < result.size and result.local_rank < result.local_size <= result.size
    ):
        shown = ", ".join(f"{name}={value[:20]}" for name, value in values.items())
        raise UsageError(f"the environment says {shown}, which no launcher sets; unset these variables")
    return result if result.size > 1 else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
