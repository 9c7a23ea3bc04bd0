"""Which of torch's operations an update's time goes to, and how far each convolution is from the machine's peak.

    python tests/benchmarks/update_operations.py                       # vq on 1,024 images of 28x28, two tables
    python tests/benchmarks/update_operations.py --quantizer hvq --dataset cifar10 --precision bf16
    python tests/benchmarks/update_operations.py -o FILE               # and saves the measurement as JSON
    python tests/benchmarks/update_operations.py --show FILE           # its tables, in Markdown, without torch

The updates are the recipe's own on random images, seen by torch's profiler. The peak is the fastest product or
convolution that `vqbench profile --cost` finds. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHAPES = {"mnist": (1, 28), "cifar10": (3, 32)}  # channels, side
SHOWN = 12  # operations; the others are one line


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantizer", default="vq", help="as in `vqbench profile`")
    parser.add_argument("--dataset", default="mnist", choices=list(SHAPES))
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the tables of a kept measurement, in Markdown")
    chosen = parser.parse_args(words)
    found = json.loads(chosen.show.read_text()) if chosen.show else measured(chosen)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(tables(found, "pipe" if chosen.show else "simple"))


# Measuring ------------------------------------------------------------------------------------------------------------


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    from vqbench.system.environment import LARGE_PAGES

    os.environ.update(LARGE_PAGES)  # before torch is loaded, as the processes of `run` have it
    import torch
    from torch.profiler import ProfilerActivity, profile

    from vqbench.profiling.roofline import peak_rates
    from vqbench.profiling.subjects import Size, subjects
    from vqbench.profiling.timing import WARM_UP, RandomImages, Rounds, StepTimer
    from vqbench.system.provenance import machine_facts

    device = torch.device("cpu")
    like = RandomImages(chosen.batch, *SHAPES[chosen.dataset])
    [subject] = subjects([chosen.quantizer], [], [Size(like.batch * like.positions, 512, 64)])
    profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
    turns = 0

    class Watched(Rounds):
        def turn(self, counted: bool = True) -> None:
            nonlocal turns
            turns += 1
            if turns == WARM_UP:
                profiler.start()
            elif turns == WARM_UP + chosen.repeat:
                profiler.stop()

    StepTimer(subject, like, chosen.precision, "cpu").timed(Watched({}, device), chosen.repeat)
    options = {name: getattr(chosen, name) for name in ("quantizer", "dataset", "precision", "batch", "repeat")}
    return {
        "machine": machine_facts(device),
        "load": os.getloadavg()[0],
        **options,
        "peak": peak_rates(device)[chosen.precision],
        "operations": [
            {"name": each.key, "calls": each.count, "seconds": each.self_cpu_time_total / 1e6}
            for each in profiler.key_averages()
        ],
        "convolutions": [
            {
                "name": each.key,
                "calls": each.count,
                "seconds": each.cpu_time_total / 1e6,
                "shapes": each.input_shapes[:3],
            }
            for each in profiler.key_averages(group_by_input_shape=True)
            if each.key in ("aten::convolution", "aten::convolution_backward")
        ],
    }


# Tables ---------------------------------------------------------------------------------------------------------------


def tables(found: dict[str, Any], style: str) -> str:
    """Format the measurement."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine, repeat = found["machine"], found["repeat"]
    ranked = sorted(found["operations"], key=lambda each: -each["seconds"])
    whole = sum(each["seconds"] for each in ranked)
    first, others = ranked[:SHOWN], ranked[SHOWN:]
    first.append({"name": "others", **{key: sum(each[key] for each in others) for key in ("calls", "seconds")}})

    def grid(lines: list[list[str]], heads: list[str], left: int) -> str:
        alignment = ["left"] * left + ["right"] * (len(heads) - left)
        return tabulate(lines, heads, style, disable_numparse=True, colalign=alignment)

    lines = [
        [
            *(f"`{each['name']}`" if each["name"] != "others" else "others", f"{each['calls'] / repeat:.0f}"),
            *(f"{1e3 * each['seconds'] / repeat:,.1f}", f"{100 * each['seconds'] / whole:.1f}"),
        ]
        for each in first
    ]
    return "\n".join(
        [
            f"`{found['quantizer']}`, {found['batch']:,} images of {found['dataset']}'s size, {found['precision']}: "
            f"{1e3 * whole / repeat:,.0f} ms an update. {origins_of(machine)[0]}, "
            f"torch {machine['versions']['torch']}, commit {machine['commit']}; load {found['load']:.1f}.",
            "",
            grid(lines, ["operation", "calls", "own time [ms]", "[%]"], left=1),
            "",
            f"Convolutions, by shape; peak: {found['peak'] / 1e9:,.0f} GFLOP/s.",
            "",
            grid(convolutions(found), CONVOLUTIONS, left=3),
        ]
    )


CONVOLUTIONS = ["convolution", "kernel", "direction", "calls", "time [ms]", "GFLOP", "of the peak [%]"]


def convolutions(found: dict[str, Any]) -> list[list[str]]:
    """A line for each shape and direction, the slowest first.

    A backward pass computes two products of the forward's size, for input and weights; that of the first layer, whose
    input is the image, one.
    """
    lines = []
    for each in sorted(found["convolutions"], key=lambda each: -each["seconds"]):
        backward = each["name"].endswith("backward")
        given, weight = each["shapes"][1:3] if backward else each["shapes"][:2]
        out = each["shapes"][0] if backward else None
        lines.append([given, weight, out, backward, each])
    known = {(tuple(given), tuple(weight)): out for given, weight, out, backward, _ in lines if backward}
    rows = []
    for given, weight, _, backward, each in lines:
        out = known[tuple(given), tuple(weight)]
        places = min(math.prod(given[2:]), math.prod(out[2:])) if given[2:] != out[2:] else math.prod(out[2:])
        first = given[1] in (1, 3) and given[2:] != out[2:]  # reads images
        products = (1 if first else 2) if backward else 1
        work = 2 * products * given[0] * places * math.prod(weight) * each["calls"] / found["repeat"]
        seconds = each["seconds"] / found["repeat"]
        rows.append(
            [
                f"{given[1]}x{given[2]}x{given[3]} to {out[1]}x{out[2]}x{out[3]}",
                f"{weight[2]}x{weight[3]}",
                "backward" if backward else "forward",
                *(f"{each['calls'] / found['repeat']:.0f}", f"{1e3 * seconds:,.1f}", f"{work / 1e9:,.1f}"),
                f"{100 * work / seconds / found['peak']:.0f}",
            ]
        )
    return rows


if __name__ == "__main__":
    main()
