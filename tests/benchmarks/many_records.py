"""Seconds of ``plan`` and ``status`` beside many records, and of a second call with ``--set``.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/many_records.py --records 100000     # in a new folder, which is deleted afterwards

The records are those of the published suite ``quick``, repeated with other seeds, so that each has a key and a digest
of its own. Each command is timed as a user runs it, as a process of its own. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_SEED = 1000  # of the repeated runs
SET = ("--set", "codebook.num_codes=128")


def generate(store: Path, count: int) -> int:
    """Write ``count`` records into ``store``; returns how many seeds each row has."""
    from vqbench.planning import loading
    from vqbench.store.results import ResultStore

    published, written = ResultStore(ROOT / "results"), ResultStore(store)
    records = [record for run in loading.load("quick", [published]).runs() if (record := published.read(run))]
    for number in range(count):
        record, seed = records[number % len(records)], FIRST_SEED + number // len(records)
        repeated = replace(record, run=replace(record.run, seed=seed))
        folder = written.folder(repeated.run)
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(repeated.to_json())  # without a sync for each
    return count // len(records)


def seconds(words: Sequence[str], store: Path) -> float:
    """Run a command and return how long it took."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "vqbench", *words, "--store", str(store)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Generate the records, and print a line per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=100, help="seeds of the suite that is larger than its file")
    chosen = parser.parse_args()
    store = Path(tempfile.mkdtemp(prefix="many-records-"))
    try:
        begun = time.perf_counter()
        generate(store, chosen.records)
        print(f"{chosen.records:,} records written in {time.perf_counter() - begun:.1f} s")
        many = ("--seeds", ",".join(str(FIRST_SEED + number) for number in range(chosen.seeds)))
        for name in ("plan", "status"):
            for what, more in (("quick", ()), (f"quick, {chosen.seeds} seeds", many)):
                times = [seconds((name, "quick", *more), store) for _ in range(2)]
                print(f"{name} {what}: {times[0]:.2f} s, again {times[1]:.2f} s", flush=True)
        for name in ("plan", "status", "table"):
            times = [seconds((name, "quick", *SET), store) for _ in range(2)]
            print(f"{name} quick {' '.join(SET)}: {times[0]:.2f} s, again {times[1]:.2f} s", flush=True)
    finally:
        shutil.rmtree(store)


if __name__ == "__main__":
    main()
