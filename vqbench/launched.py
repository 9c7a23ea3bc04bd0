"""Whether several processes were started to train together, as ``torchrun`` does, and which of them this one is."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launched:
    """This process among those that were started together."""

    rank: int
    size: int
    local_rank: int
    local_size: int  # processes on this machine


def launched() -> Launched | None:
    """What ``torchrun`` says of this process; None if nobody has started several."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        return None
    found = Launched(*(int(os.environ[name]) for name in names))
    return found if found.size > 1 else None
