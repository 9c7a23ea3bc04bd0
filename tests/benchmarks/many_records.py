"""Seconds of ``plan`` and ``status`` beside many records, and of a second call with ``--set``.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/many_records.py --records 100000     # in a new folder, which is deleted afterwards
    python tests/benchmarks/many_records.py --beside ../other    # another checkout, timed in turn on the same records

The records are those of the published suite ``quick``, repeated with other seeds, so that each has a key and a digest
of its own. Each command is timed as a user runs it, as a process of its own, with an empty cache but for what suites
resolve to: the first ``plan`` writes the index of records that later ones read. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
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


def seconds(words: Sequence[str], store: Path, checkout: Path, cache: Path) -> float:
    """Run a command of ``checkout`` and return how long it took."""
    environment = {**os.environ, "VQBENCH_CACHE": str(cache)}
    begun = time.perf_counter()
    command = [sys.executable, "-m", "vqbench", *words, "--store", str(store)]
    subprocess.run(command, check=True, cwd=checkout, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - begun


def commands(seeds: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield every command with its name."""
    many = ("--seeds", ",".join(str(FIRST_SEED + number) for number in range(seeds)))
    for words in (("plan",), ("plan", "--cost"), ("status",)):
        yield f"{' '.join(words)} quick", (*words, "quick")
    for name in ("plan", "status"):
        yield f"{name} quick, {seeds} seeds", (name, "quick", *many)
    for name in ("plan", "status", "table"):
        yield f"{name} quick {' '.join(SET)}", (name, "quick", *SET)


def main() -> None:
    """Generate the records, and print a line per command and checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=100, help="seeds of the suite that is larger than its file")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another checkout, timed in turn")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="many-records-"))
    checkouts = [ROOT, *([chosen.beside.resolve()] if chosen.beside else [])]
    try:
        for number, checkout in enumerate(checkouts):
            seconds(("plan", "quick"), folder / "empty", checkout, folder / f"cache-{number}")  # resolves all suites
        begun = time.perf_counter()
        generate(folder / "runs", chosen.records)
        print(f"{chosen.records:,} records written in {time.perf_counter() - begun:.1f} s", flush=True)
        for name, words in commands(chosen.seeds):
            for number, checkout in enumerate(checkouts):
                cache = folder / f"cache-{number}"
                times = [seconds(words, folder / "runs", checkout, cache) for _ in range(2)]
                where = f"{checkout.name}: " if chosen.beside else ""
                print(f"{where}{name}: {times[0]:.2f} s, again {times[1]:.2f} s", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
