"""Seconds of ``vqbench run quick`` from a warm cache: alone, beside a busy process, and once all its runs are trained.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/quick_time.py                # the whole suite, twice
    python tests/benchmarks/quick_time.py --only vq      # one row of it
    python tests/benchmarks/quick_time.py --show FILE    # the table of a measurement that -o has kept

Every call is a process of its own with a new store, but the last two, which find all runs in it. Idle threads wait
passively (``OMP_WAIT_POLICY=PASSIVE``), as on a machine that is shared. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BUSY = "while True: pass"
SET = ("--set", "codebook.num_codes=128")


def seconds(store: Path, *words: str) -> float:
    """Run the suite into ``store`` and return how long it took."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "vqbench", "run", "quick", "--quiet", "--store", str(store), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})
    return time.perf_counter() - begun


def measured(only: list[str]) -> dict[str, Any]:
    """Time the suite in turn: alone, beside a busy process, again, and again with another codebook."""
    import torch

    from vqbench.system.provenance import machine_facts

    found: dict[str, Any] = {"machine": machine_facts(torch.device("cpu")), "load": os.getloadavg()[0], "only": only}
    rows = [word for name in only for word in ("--only", name)]
    with tempfile.TemporaryDirectory(prefix="quick-time-") as text:
        folder = Path(text)
        seconds(folder / "warm", "--only", "identity")  # data, weights and what suites resolve to
        found["alone"] = seconds(folder / "alone", *rows)
        busy = subprocess.Popen([sys.executable, "-c", BUSY])
        try:
            found["beside"] = seconds(folder / "beside", *rows)
        finally:
            busy.kill()
            busy.wait()
        found["again"] = seconds(folder / "alone", *rows)
        seconds(folder / "alone", *SET, "--only", "identity")
        found["set"] = seconds(folder / "alone", *SET, "--only", "identity")
    return found


def table(found: dict[str, Any], style: str) -> str:
    """Format the measurement."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine = found["machine"]
    only = "".join(f" --only {name}" for name in found["only"])
    lines = [
        [f"`vqbench run quick{only}`", found["alone"]],
        ["the same beside a busy process", found["beside"]],
        ["the same once more, all trained", found["again"]],
        [f"`vqbench run quick {' '.join(SET)} --only identity`, trained", found["set"]],
    ]
    cells = [[what, f"{each:.2f}", f"{each / found['alone']:.2f}"] for what, each in lines]
    cells[-1][-1] = "–"  # another row than the first
    return "\n".join(
        [
            f"{origins_of(machine)[0]}, torch {machine['versions']['torch']}, commit {machine['commit']}; load "
            f"{found['load']:.1f} at the start.",
            "",
            tabulate(
                cells,
                ["command", "seconds", "÷ the first"],
                style,
                disable_numparse=True,
                colalign=("left", "right", "right"),
            ),
        ]
    )


def main() -> None:
    """Measure, or show what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="rows of the suite; otherwise all")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a kept measurement, in Markdown")
    chosen = parser.parse_args()
    found = json.loads(chosen.show.read_text()) if chosen.show else measured(chosen.only)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, "pipe" if chosen.show else "simple"))


if __name__ == "__main__":
    main()
