"""Speed and memory of ``vqbench measure`` on folders of photographs.

    python tests/benchmarks/measure_speed.py                # measures, prints tables
    python tests/benchmarks/measure_speed.py -o FILE        # and saves the measurement as JSON
    python tests/benchmarks/measure_speed.py --show FILE    # its tables, in Markdown, without torch
    python tests/benchmarks/measure_speed.py --images 0     # memory alone

Speed: LPIPS and rFID of all pairs, from files to values, against the bare forward passes of VGG16 and Inception on both
sides of the same pairs, ready in memory in the layout that suits each network (`clean` rFID: in torch-fidelity's).
Both take turns in one process, batch by batch, so that other load on the machine affects both alike; what measuring
does besides the networks (scanning, decoding, the metrics) is counted as its time. The Fréchet distance, which is
computed once however many pairs there are, has a column of its own.
Memory: the peak of a process that measures l1, PSNR and SSIM of few and of many pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIDE = 256
TURN = 20  # pairs that each side computes before the other's turn
DISTINCT = 100  # photographs that are written; more are links to them
CLOCKS = ("seconds", "cpu_seconds")
QUALITY = 30  # of the JPEG copies that are measured as reconstructions
PEAK = """
import json, resource, sys
from pathlib import Path
from vqbench.api.measure import measure_files
found = measure_files(*map(Path, sys.argv[1:]), metrics=["l1", "psnr", "ssim"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"images": int(found.values.images.iloc[0]), "peak": peak}))
"""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="pairs for the speed (default 200); 0: none")
    parser.add_argument("--few", type=int, default=500, help="pairs for the smaller peak (default 500)")
    parser.add_argument("--many", type=int, default=8_000, help="pairs for the larger peak (default 8000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the tables of a kept measurement, in Markdown")
    chosen = parser.parse_args(words)
    found = json.loads(chosen.show.read_text()) if chosen.show else measured(chosen)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1) if chosen.json else tables(found, "pipe" if chosen.show else "simple"))


def tables(found: dict[str, Any], style: str) -> str:
    """Format the measurement."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine = found["machine"]
    peaks = [[f"{each['images']:,}", f"{each['peak'] / 1e6:,.0f}"] for each in found["memory"]]
    more = (found["memory"][1]["peak"] - found["memory"][0]["peak"]) / 1e6
    return "\n".join(
        [
            f"{origins_of(machine)[0]}, torch {machine['versions']['torch']}, "
            f"commit {machine['commit']}, load {found['load']:.1f} at the start; pairs of {SIDE}x{SIDE} pixels in "
            "folders.",
            "",
            *([] if found["speed"] is None else speed_table(found["speed"], style)),
            f"Peak memory of a process that measures l1, PSNR and SSIM; the difference is {more:+,.0f} MB.",
            "",
            tabulate(peaks, ["pairs", "peak [MB]"], style, disable_numparse=True, colalign=["right"] * 2),
        ]
    )


def speed_table(speed: dict[str, Any], style: str) -> list[str]:
    """Format the seconds of measuring and of the networks alone."""
    from tabulate import tabulate

    wall, cpu = speed["seconds"], speed["cpu_seconds"]
    ratios = [f"{each['ours'] / each['bare']:.3f}" for each in (wall, cpu)]
    row = [f"{speed['images']:,}", *(f"{wall[side]:.1f}" for side in ("ours", "bare", "end")), *ratios]
    heads = ["pairs", "measure [s]", "networks alone [s]", "distance, once [s]", "measure ÷ networks", "CPU time"]
    drawn = tabulate([row], heads, style, disable_numparse=True, colalign=["right"] * 6)
    return [f"LPIPS and rFID, in turns of {TURN} pairs.", "", drawn, ""]


# ----------------------------------------------------------------------------------------------------------- measuring


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    """Speed and memory, and the machine that they were measured on."""
    import torch

    from vqbench.system.provenance import machine_facts

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder / "all", min(DISTINCT, max(chosen.images, chosen.many)))
        memory = [peak(linked(folder, count)) for count in (chosen.few, chosen.many)]
        speed = networks(linked(folder, chosen.images)) if chosen.images else None
    return {"machine": machine_facts(torch.device("cpu")), "load": load, "speed": speed, "memory": memory}


def photographs(folder: Path, count: int) -> None:
    """Write crops of photographs as PNG, and JPEG copies."""
    import numpy as np
    from PIL import Image
    from skimage import data

    draw = np.random.default_rng(0)
    images = [data.astronaut(), data.coffee(), data.cat()]
    for side in ("originals", "reconstructions"):
        (folder / side).mkdir(parents=True)
    for number in range(count):
        levels = images[number % len(images)]
        top, left = (int(draw.integers(0, size - SIDE + 1)) for size in levels.shape[:2])
        crop = Image.fromarray(levels[top : top + SIDE, left : left + SIDE])
        crop.save(folder / "originals" / f"{number:06}.png")
        crop.save(folder / "reconstructions" / f"{number:06}.jpg", quality=QUALITY)


def linked(folder: Path, count: int) -> tuple[Path, Path]:
    """Folders of ``count`` pairs, which are links to the photographs that exist."""
    sides = []
    for source in sorted((folder / "all").iterdir()):  # originals, reconstructions
        files = sorted(source.iterdir())
        side = folder / str(count) / source.name
        side.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            file = files[number % len(files)]
            os.link(file, side / f"{number:06}{file.suffix}")
        sides.append(side)
    return sides[0], sides[1]


def peak(pairs: tuple[Path, Path]) -> dict[str, Any]:
    """Peak memory in bytes of a process that measures ``pairs``."""
    words = [sys.executable, "-c", PEAK, *map(str, pairs)]
    out = subprocess.run(words, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]).stdout
    result: dict[str, Any] = json.loads(out)
    return result


def networks(pairs: tuple[Path, Path]) -> dict[str, Any]:
    """Seconds of LPIPS and rFID by measure, and of the two networks alone, in turns."""
    from vqbench.api.measure import measure_files
    from vqbench.measuring import pair_stream
    from vqbench.measuring.pair_inputs import PairInputs

    pair_stream.PIXELS = TURN * SIDE * SIDE  # so that turns are short
    alone = Alone()
    batches = PairInputs.open(*pairs).reader.batches()
    first = next(batches)
    batches.close()
    alone.forward(first.originals[:2])  # warms up both networks
    clocks = Clocks()
    at = 0

    def turn(done: int, total: int) -> None:
        """Compute the bare networks on the pairs that were just measured."""
        nonlocal at
        clocks.end("ours")
        sides = decoded(pairs, range(at, done))
        clocks.begin()
        for side in sides:
            alone.forward(side)
        clocks.end("bare")
        at = done
        clocks.begin()  # after the last turn: of the end

    clocks.begin()
    found = measure_files(*pairs, metrics=["lpips", "rfid"], progress=turn)
    clocks.end("end")
    return {"images": int(found.values.images.iloc[0]), **clocks.sums}


def decoded(pairs: tuple[Path, Path], places: range) -> list[Any]:
    """Both sides of some pairs, (B, 3, H, W) in [-1, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    from vqbench.images import to_unit

    sides = []
    for folder in pairs:
        files = sorted(folder.iterdir())[places.start : places.stop]
        levels = np.stack([np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1) for file in files])
        sides.append(to_unit(torch.from_numpy(levels)))
    return sides


class Alone:
    """The two networks, as the metrics have them, without anything around them."""

    def __init__(self) -> None:
        import torch

        from vqbench.networks import inception, perceptual

        cpu = torch.device("cpu")
        self.vgg, self.inception = perceptual.network("vgg", cpu).net, inception.network(cpu)

    def forward(self, images: Any) -> None:
        """VGG16 on ``images`` as they are, Inception on 299x299 pixels of noise: its time is that of the shape."""
        import torch

        from vqbench.networks import inception
        from vqbench.networks.precision import inference_float32

        ready = images.contiguous(memory_format=torch.channels_last)
        large = torch.randn(len(images), 3, inception.INPUT, inception.INPUT)
        with torch.no_grad(), inference_float32(torch.device("cpu")):
            self.vgg(ready)
            inception._pool3(self.inception, large)


class Clocks:
    """Wall and CPU seconds of two sides that take turns."""

    def __init__(self) -> None:
        sides = ("ours", "bare", "end")
        self.sums: dict[str, dict[str, float]] = {name: dict.fromkeys(sides, 0.0) for name in CLOCKS}
        self._since = (0.0, 0.0)

    def begin(self) -> None:
        self._since = time.perf_counter(), time.process_time()

    def end(self, side: str) -> None:
        """Add the time since :meth:`begin` to a side."""
        now = time.perf_counter(), time.process_time()
        for name, start, stop in zip(self.sums, self._since, now, strict=True):
            self.sums[name][side] += stop - start


if __name__ == "__main__":
    main()
