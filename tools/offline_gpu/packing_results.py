"""Pack what a run has made: the table, logs, records of finished rows, and their best weights."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pieces
from gpu_steps import OfflineRun
from pieces import OfflineError
from settings import words

NAME = "results"  # of the pieces
KEPT = ("table.md", "state.json", "times.jsonl")
HEADER = 2048  # bytes of a tar that a file takes beyond its own, at most


def pack_results(run: OfflineRun, out: Path, piece: int, most: int) -> tuple[list[str], list[str]]:
    """Write at most ``most`` files of ``piece`` bytes, the manifest among them, to ``out``.

    Returns their names, and the keys of finished rows whose weights found no room.

    Raises:
        OfflineError: The store holds no run, or not even the records have room.
    """
    if not (run.store / "state.json").is_file():
        raise OfflineError(f"{run.store}: nothing was run here; name the folder of `run --store`", 2)
    with tempfile.TemporaryDirectory() as folder:
        published = Path(folder) / "runs"
        _publish(run, published)
        files = [(run.store / name, name) for name in KEPT if (run.store / name).is_file()]
        files += [*pieces.below(run.store / "logs", "logs"), *pieces.below(published, "runs")]
        room = piece * (most - 1) - sum(_size(path) for path, _ in files)
        left_out = []
        for record in sorted(published.glob("*/record.json")):
            key = record.parent.name
            best = run.store / "runs" / key / "best.pt"
            if best.is_file() and _size(best) <= room:
                files.append((best, f"runs/{key}/best.pt"))
                room -= _size(best)
            else:
                left_out.append(key)
        return pieces.write(files, out, NAME, piece, most - 1), left_out


def _size(path: Path) -> int:
    return path.stat().st_size + HEADER


def _publish(run: OfflineRun, target: Path) -> None:
    """Copy finished records, without checkpoints, by ``vqbench publish``; none is no fault."""
    if not any((run.store / "runs").glob("*/record.json")):
        return
    installed = run.installed
    command = [installed.python, "-m", "vqbench", "publish", *words(run.scale.rows)]
    options = ["--store", str(run.store / "runs"), "--results", str(target)]
    env = os.environ | installed.env
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise OfflineError(f"vqbench publish failed with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
