"""One of two ranks: read jobs from stdin, write each result to a file.

Ends when stdin closes, and so with the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vqbench.conformance.case import Case, named


def main(rank: int, folder: Path, patience: float) -> None:
    """Carry out jobs until stdin closes; ``patience`` is in seconds."""
    torch.set_num_threads(1)
    meeting = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=patience))
    for line in sys.stdin:
        number, job, working_folder = json.loads(line)
        os.chdir(working_folder)  # where relative paths of plugins and their data are
        result: dict[str, Any]
        try:
            result = named(job["job"])(Case.from_dict(job["case"]), rank, 2)
        except (Exception, SystemExit) as error:  # of a plugin, reported by the parent process
            result = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        scratch = folder / f".{number}.{rank}"
        torch.save(result, scratch)
        os.replace(scratch, folder / f"{number}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
