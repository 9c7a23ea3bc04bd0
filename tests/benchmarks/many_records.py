"""Seconds of ``plan`` and ``status`` beside many records, and of a second call with ``--set``.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/many_records.py --records 100000     # in a new folder, which is deleted afterwards
    python tests/benchmarks/many_records.py --beside ../other    # another checkout, timed in turn on the same records
    python tests/benchmarks/many_records.py --show FILE          # the table of a measurement that -o has kept

The records are those of the published suite ``quick``, repeated with other seeds, so that each has a key and a digest
of its own. Each command is timed as a user runs it, as a process of its own, with an empty cache but for what suites
resolve to: the first ``plan`` writes the index of records that later ones read. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

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
        yield f"{name} quick --seeds (of {seeds})", (name, "quick", *many)
    for name in ("plan", "status", "table"):
        yield f"{name} quick {' '.join(SET)}", (name, "quick", *SET)


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    """Generate the records, and time each command twice, in turn with the other checkout."""
    sys.path.insert(0, str(ROOT))  # that the records and the commit are those of this checkout
    import torch

    from vqbench.system.provenance import machine_facts

    folder = Path(tempfile.mkdtemp(prefix="many-records-"))
    checkouts = {"now": ROOT, **({"before": chosen.beside.resolve()} if chosen.beside else {})}
    found: dict[str, Any] = {"machine": machine_facts(torch.device("cpu")), "load": os.getloadavg()[0]}
    try:
        for code, checkout in checkouts.items():
            seconds(("plan", "quick"), folder / "empty", checkout, folder / f"cache-{code}")  # resolves all suites
        begun = time.perf_counter()
        generate(folder / "runs", chosen.records)
        rows = []
        for (name, words), (code, checkout) in product(commands(chosen.seeds), checkouts.items()):
            times = [seconds(words, folder / "runs", checkout, folder / f"cache-{code}") for _ in range(2)]
            rows.append({"command": name, "code": code, "seconds": times})
            print(f"{time.perf_counter() - begun:.0f} s: {name} ({code}): {times}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    beside = None if chosen.beside is None else _commit(chosen.beside)
    return {**found, "beside": beside, "records": chosen.records, "rows": rows}


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def table(found: dict[str, Any], style: str) -> str:
    """Format the measurement."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine = found["machine"]
    before = f", before: {found['beside']}" if found["beside"] else ""
    lines = [
        [f"`vqbench {row['command']}`", row["code"], *(f"{each:.2f}" for each in row["seconds"])]
        for row in found["rows"]
    ]
    return "\n".join(
        [
            f"{found['records']:,} records beside. {origins_of(machine)[0]}, torch {machine['versions']['torch']}, "
            f"commit {machine['commit']}{before}; load {found['load']:.1f} at the start.",
            "",
            tabulate(
                lines,
                ["command", "code", "first call [s]", "second call [s]"],
                style,
                disable_numparse=True,
                colalign=("left", "left", "right", "right"),
            ),
        ]
    )


def main() -> None:
    """Measure, or show what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=100, help="seeds of the suite that is larger than its file")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another checkout, timed in turn")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a kept measurement, in Markdown")
    chosen = parser.parse_args()
    found = json.loads(chosen.show.read_text()) if chosen.show else measured(chosen)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, "pipe" if chosen.show else "simple"))


if __name__ == "__main__":
    main()
