"""Where an update's CPU time goes, and before and after a change, in one run.

    python tests/benchmarks/update_time.py                     # measures, prints tables
    python tests/benchmarks/update_time.py --beside COMMIT     # and the same of an older commit, in turn
    python tests/benchmarks/update_time.py -o FILE             # and saves the measurement as JSON
    python tests/benchmarks/update_time.py --show FILE         # its tables, in Markdown, without torch

Every row is the recipe's own update on random images, on one thread, in a process of its own. All processes of a row
are alive together and take turns, an update each. Times are CPU time, user and system: other work on the machine
stretches seconds, but CPU time little. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"mnist": (1, 28), "cifar10": (3, 32)}  # channels, side
PARTS = ("encoder", "quantizer", "decoder", "optimizer")
# What the process of each side starts with; the first is glibc's own behaviour.
POLICIES: dict[str, dict[str, str]] = {
    "glibc": {},
    "huge pages": {"THP_MEM_ALLOC_ENABLE": "1"},
    "kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)},
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantizer", action="append", help="otherwise vq, cvq, hvq, sqvae")
    parser.add_argument("--dataset", action="append", choices=list(SHAPES))
    parser.add_argument("--precision", action="append", choices=["float32", "bf16"])
    parser.add_argument(
        "--policy", action="append", choices=list(POLICIES), help="of memory; otherwise huge pages, as in a run"
    )
    parser.add_argument("--beside", metavar="COMMIT", help="also measure this commit, under huge pages")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the tables of a kept measurement, in Markdown")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # of one process: its job as JSON
    chosen = parser.parse_args(words)
    if chosen.side:
        one_side(**json.loads(chosen.side))
        return
    found = json.loads(chosen.show.read_text()) if chosen.show else measured(chosen)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1) if chosen.json else tables(found, "pipe" if chosen.show else "simple"))


# One process ----------------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def one_side(root: str, quantizer: str, dataset: str, precision: str, batch: int, repeat: int) -> None:
    """Carry out an update whenever a line comes in, and answer with a line of JSON about it."""
    sys.path.insert(0, root)
    import torch

    torch.set_num_threads(1)
    from vqbench.profiling.subjects import Size, subjects
    from vqbench.profiling.timing import RandomImages, Rounds, StepTimer

    like = RandomImages(batch, *SHAPES[dataset])
    [subject] = subjects([quantizer], [], [Size(like.batch * like.positions, 512, 64)])
    clocks: list[Any] = []

    class Timer(StepTimer):
        def model(self, images: Any) -> Any:
            model = super().model(images)
            clocks.append(here("update_parts").UpdateParts(model, cpu_seconds))
            return model

    class Turns(Rounds):
        def turn(self, counted: bool = True) -> None:
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(json.dumps({"parts": clocks[0].finished(), **usage(used, self.before)}), flush=True)
            sys.stdin.readline()
            self.before = resource.getrusage(resource.RUSAGE_SELF)

        before = resource.getrusage(resource.RUSAGE_SELF)

    Timer(subject, like, precision, "cpu").timed(Turns({}, torch.device("cpu")), repeat)  # type: ignore[arg-type]


def here(name: str) -> Any:
    """Return a module of this checkout's ``profiling``, in a process that imports another commit."""
    described = importlib.util.spec_from_file_location(name, ROOT / "vqbench" / "profiling" / f"{name}.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def usage(now: resource.struct_rusage, before: resource.struct_rusage) -> dict[str, float]:
    user, system = now.ru_utime - before.ru_utime, now.ru_stime - before.ru_stime
    return {"cpu": user + system, "system": system, "faults": now.ru_minflt - before.ru_minflt, "peak": now.ru_maxrss}


# All processes --------------------------------------------------------------------------------------------------------


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure all rows; the sides of a data set and precision take turns."""
    from vqbench.profiling.timing import WARM_UP
    from vqbench.system.environment import LARGE_PAGES
    from vqbench.system.provenance import machine_facts

    assert POLICIES["huge pages"] == LARGE_PAGES
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        roots = {"now": ROOT}
        if chosen.beside:
            roots["before"] = Path(folder) / "before"
            git = ["git", "-C", str(ROOT), "archive", chosen.beside]
            roots["before"].mkdir()
            archive = subprocess.run(git, check=True, capture_output=True).stdout
            subprocess.run(["tar", "-x", "-C", str(roots["before"])], input=archive, check=True)
        for dataset, precision in product(chosen.dataset or ["mnist"], chosen.precision or ["float32", "bf16"]):
            sides = [
                {"quantizer": name, "version": version, "policy": policy}
                for name, version in product(chosen.quantizer or ["vq", "cvq", "hvq", "sqvae"], roots)
                for policy in (["huge pages"] if version == "before" else chosen.policy or ["huge pages"])
            ]
            options = {"dataset": dataset, "precision": precision, "batch": chosen.batch, "repeat": chosen.repeat}
            running = [start(str(roots[side["version"]]), side, options) for side in sides]
            answers: list[list[dict[str, Any]]] = [[] for _ in sides]
            for _, (process, answer) in product(range(WARM_UP + chosen.repeat), zip(running, answers, strict=True)):
                answer.append(json.loads(process.stdout.readline()))  # type: ignore[union-attr]
                process.stdin.write("\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            for process, side, answer in zip(running, sides, answers, strict=True):
                process.communicate()
                rows.append({**side, **options, **median(answer[WARM_UP:])})
    import torch

    machine = machine_facts(torch.device("cpu"))
    return {"machine": machine, "load": os.getloadavg()[0], "beside": chosen.beside, "rows": rows}


def start(root: str, side: dict[str, str], options: dict[str, Any]) -> subprocess.Popen[str]:
    variables = {name: value for policy in POLICIES.values() for name, value in policy.items()}
    plain = {name: value for name, value in os.environ.items() if name not in variables}
    job = json.dumps({"root": root, "quantizer": side["quantizer"], **options})
    start = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return start([sys.executable, __file__, "--side", job], env={**plain, **POLICIES[side["policy"]]})


def median(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the update of median length. Its parts sum to it, as medians of each would not."""
    update = sorted(answers, key=lambda each: each["cpu"])[(len(answers) - 1) // 2]
    parts = {name: update["parts"].get(name, 0.0) for name in PARTS}
    return {**update, "parts": parts, "peak": max(each["peak"] for each in answers) * 1024}


# Tables ---------------------------------------------------------------------------------------------------------------


def tables(found: dict[str, Any], style: str) -> str:
    """Format the measurement."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine, rows = found["machine"], found["rows"]
    heads = ["quantizer", "images", "precision", "code", "memory", "update [ms]", "÷ vq"]
    heads += [f"{part} [%]" for part in PARTS] + ["rest [%]", "system [%]", "faults", "peak [MB]"]
    lines = [
        [
            *(row["quantizer"], row["dataset"], row["precision"], row["version"], row["policy"]),
            *(f"{1e3 * row['cpu']:,.0f}", f"{row['cpu'] / plain(row, rows):.2f}"),
            *(f"{100 * row['parts'][part] / row['cpu']:.1f}" for part in PARTS),
            f"{100 * (1 - sum(row['parts'].values()) / row['cpu']):.1f}",
            *(f"{100 * row['system'] / row['cpu']:.1f}", f"{row['faults']:,.0f}", f"{row['peak'] / 1e6:,.0f}"),
        ]
        for row in rows
    ]
    made, torch, commit = origins_of(machine)[0], machine["versions"]["torch"], machine["commit"]
    beside = f", before: {found['beside']}" if found["beside"] else ""
    return "\n".join(
        [
            f"{replace(made, threads=1)}, torch {torch}, commit {commit}{beside}. Medians of CPU time, an update of "
            f"each row in turn, batch {rows[0]['batch']:,}; load {found['load']:.1f}.",
            "",
            tabulate(lines, heads, style, disable_numparse=True, colalign=["left"] * 5 + ["right"] * 10),
        ]
    )


def plain(row: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    """Return the CPU time of vq under the same conditions, or NaN."""
    same = ("dataset", "precision", "version", "policy")
    alike = [each["cpu"] for each in rows if each["quantizer"] == "vq" and all(each[key] == row[key] for key in same)]
    return alike[0] if alike else float("nan")


if __name__ == "__main__":
    main()
