"""Evaluation speed, compared with a script that takes one image at a time and with the bare networks.

    python tests/benchmarks/measuring.py                # measures, prints a table
    python tests/benchmarks/measuring.py -o FILE        # and saves the measurement as JSON
    python tests/benchmarks/measuring.py --show FILE    # the table of a saved measurement, in Markdown, without torch

Both sides take turns in one process, and ratios are of medians, so that other load on the machine affects both alike.
CPU time, of all threads, is shown beside wall time, for shared machines.
Both sides of a pair, originals and reconstructions, are computed each time, unless a row says otherwise. Networks: the
bare forward pass of the same network on the same number of images, ready on the device in the layout that suits it
best (`clean` rFID: in torch-fidelity's, which it has to equal to the last digit).
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = (
    Path(__file__).parents[1] / "evaluation" / "test_reconstructions.py"
)  # the image-by-image script that the tests hold values against
DATASETS = ("fashion_mnist_5k", "cifar10")
BATCH = 100  # as in an evaluation
RFID_BATCH = 10  # larger network passes are no faster per image


def main() -> None:
    parser = argparse.ArgumentParser(description="Images a second of the metrics, and their share of bare networks.")
    parser.add_argument("--images", type=int, default=400, help="images for l1, PSNR and SSIM (default 400)")
    parser.add_argument("--lpips-images", type=int, default=100, help="images for LPIPS (default 100)")
    parser.add_argument("--rfid-images", type=int, default=10, help="images for rFID (default 10)")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which medians are taken (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a kept measurement")
    options = parser.parse_args()
    measured = json.loads(options.show.read_text()) if options.show else measure(options)
    if options.output:
        options.output.write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured, indent=1) if options.json else markdown(measured))


def markdown(measured: dict[str, Any]) -> str:
    """Format the measurement as Markdown."""
    machine = measured["machine"]
    lines = [
        f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}, Pillow {machine['pillow']}; "
        f"medians of {measured['repeats']} turns, load {machine['load']:.1f} at the start.",
        "",
        "| data set | measured | against | images/s | of the other | time, ours/other | CPU time, ours/other |",
        "|:--|:--|:--|--:|--:|--:|--:|",
    ]
    for row in measured["rows"]:
        speeds = [f"{row['images'] / row['seconds'][side]:,.1f}" for side in ("ours", "other")]
        ratios = [f"{times['ours'] / times['other']:.3f}" for times in (row["seconds"], row["cpu_seconds"])]
        lines.append("| " + " | ".join([row["dataset"], row["what"], row["against"], *speeds, *ratios]) + " |")
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------------- measuring


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows, with the machine that they were measured on."""
    import PIL
    import torch

    from vqbench.system import provenance

    current = provenance.current_provenance(torch.device("cpu"))
    machine = {
        "device": current["device"],
        "threads": current["threads"],
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "load": os.getloadavg()[0],
    }
    rows = [row for name in DATASETS for row in (simple(name, options), lpips(name, options))]
    rows += [rfid(name, options) for name in ("official", "clean")]
    made = {"date": current["date"], "commit": current["commit"], "repeats": options.repeats}
    return {"machine": machine, **made, "rows": rows}


def medians(repeats: int, **sides: Callable[[], object]) -> dict[str, dict[str, float]]:
    """Median seconds of each side, the wall's and the CPU's; they take turns, after one turn that is not counted."""
    clocks = {"seconds": time.perf_counter, "cpu_seconds": time.process_time}
    seconds: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in sides} for clock in clocks}
    for turn in range(repeats + 1):
        for name, run in sides.items():
            started = {clock: read() for clock, read in clocks.items()}
            run()
            for clock, read in clocks.items():
                if turn:
                    seconds[clock][name].append(read() - started[clock])
    return {clock: {name: statistics.median(each) for name, each in of.items()} for clock, of in seconds.items()}


def image_pairs(dataset: str, count: int) -> tuple[Any, Any]:
    """The first test images, and what a weak model might make of them, both (N, C, S, S) in [-1, 1]."""
    from vqbench import registry
    from vqbench.images import to_unit

    x = to_unit(registry.load("datasets", dataset)().pixels("test")[:count])
    return x, runpy.run_path(str(SCRIPT))["reconstructed"](x)


def metrics(protocol: str, *names: str) -> list[Any]:
    import torch

    from vqbench import registry
    from vqbench.metric import Context
    from vqbench.protocol import measuring

    context = Context(measuring(protocol), "0" * 64, None, None, torch.device("cpu"), keep=False)
    return [registry.load("metrics", name)(context) for name in names]


def feed(collectors: list[Any], protocol: str, x: Any, y: Any, size: int = BATCH) -> None:
    """What an evaluation does with the images of a first run, the model apart."""
    import torch

    from vqbench.images import as_measured
    from vqbench.metric import Batch
    from vqbench.protocol import measuring

    under = measuring(protocol)
    index = torch.arange(len(x))
    for number, a, b in zip(index.split(size), x.split(size), y.split(size), strict=True):
        batch = Batch(as_measured(a, under), as_measured(b, under), None, number)
        for collector in collectors:
            collector.update(batch)


def simple(dataset: str, options: argparse.Namespace) -> dict[str, Any]:
    """l1, PSNR and SSIM under ``official``, against files, Pillow and scikit-image."""
    one_by_one = runpy.run_path(str(SCRIPT))["measured_one_by_one"]
    x, y = image_pairs(dataset, options.images)
    collectors = metrics("official", "l1", "psnr", "ssim")

    def script() -> None:
        with tempfile.TemporaryDirectory() as folder:
            one_by_one(x, y, Path(folder))

    seconds = medians(options.repeats, other=script, ours=lambda: feed(collectors, "official", x, y))
    return row(dataset, "official: l1, PSNR, SSIM", "the image-by-image script", len(x), seconds)


def lpips(dataset: str, options: argparse.Namespace) -> dict[str, Any]:
    """LPIPS of pairs, against VGG16 on both sides of the same pairs."""
    import torch

    from vqbench.networks.precision import inference_float32

    x, y = image_pairs(dataset, options.lpips_images)
    collectors = metrics("clean", "lpips")
    net = collectors[0].net.net
    ready = [side.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last) for side in (x, y)]

    def bare() -> None:
        with inference_float32(torch.device("cpu")):
            for side in ready:
                for part in side.split(BATCH):
                    net(part)

    seconds = medians(options.repeats, other=bare, ours=lambda: feed(collectors, "clean", x, y))
    return row(dataset, "clean: LPIPS", "VGG16 on both", len(x), seconds)


def rfid(protocol: str, options: argparse.Namespace) -> dict[str, Any]:
    """Features and their sums for rFID, reconstructions alone, against Inception; the distance comes once a run."""
    import torch

    from vqbench.networks import inception
    from vqbench.networks.feature_cache import FeatureCache
    from vqbench.networks.precision import inference_float32

    x, y = image_pairs("cifar10", options.rfid_images)
    (collector,) = metrics(protocol, "rfid")
    layout = torch.channels_last if protocol == "official" else torch.contiguous_format
    ready = torch.randn(len(x), 3, 299, 299).contiguous(memory_format=layout)
    with tempfile.TemporaryDirectory() as folder:
        collector.originals = FeatureCache(Path(folder) / "features.npy")  # filled in the turn not counted

        def bare() -> None:
            with inference_float32(torch.device("cpu")):
                for part in ready.split(RFID_BATCH):
                    inception._pool3(collector.net, part)

        seconds = medians(options.repeats, other=bare, ours=lambda: feed([collector], protocol, x, y, RFID_BATCH))
    return row("cifar10", f"{protocol}: rFID, originals known", "Inception on reconstructions", len(x), seconds)


def row(dataset: str, what: str, against: str, images: int, seconds: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {"dataset": dataset, "what": what, "against": against, "images": images, **seconds}


if __name__ == "__main__":
    main()
