"""Peak memory and seconds of an update of a whole system of Table B.2, on random images.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/gan_step.py                     # VQGAN at f16, 256 pixels, one image, in float32
    python tests/benchmarks/gan_step.py --batch 64 --accumulate 4 --precision bf16 --device cuda -o FILE
    python tests/benchmarks/gan_step.py --show FILE         # the table of a kept measurement, without torch

Each row is a process of its own, so that its peak is its own. An update is the recipe's: model and discriminator, the
perceptual loss, the adaptive weight and both Adams. Before its start the discriminator takes no part: those updates are
a row of their own. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What a row is called -> backbone, its arguments, quantizer, its arguments, codes, dim.
SYSTEMS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], int, int]] = {
    "vqgan": ("vqgan", {}, "vq", {"beta_on": "codebook"}, 1024, 256),
    "cvq": ("vqgan", {}, "cvq", {}, 1024, 256),
    "rqvae": ("rqvae", {}, "rq", {"level_codes": 2048}, 2048, 256),
    "movq": ("movq", {}, "movq", {"group_codes": 1024}, 1024, 256),
    "seqgan": ("seqgan", {}, "seqgan", {}, 1024, 256),
    "vit": ("vit", {"variant": "base"}, "vit_vqgan", {}, 8192, 768),
}
HEADS = ["system", "parameters", "side", "batch", "parts", "precision", "discriminator", "seconds", "peak [MB]"]


def one(chosen: argparse.Namespace, system: str, playing: bool) -> dict[str, Any]:
    """Updates of one system in this process: their seconds but for the first, and the peak over all of them."""
    import torch

    from vqbench import registry
    from vqbench.backbone import Autoencoder
    from vqbench.profiling.peak_memory import peak
    from vqbench.training.adversarial.patch import Patch
    from vqbench.training.adversarial.reconstruction import Reconstruction, ReconstructionWeights
    from vqbench.training.adversarial.update import AdamConfig, GanConfig, GanTrainer
    from vqbench.training.engine import Engine

    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    engine = Engine(chosen.device, chosen.precision)
    torch.manual_seed(0)
    name, given, method, own, codes, dim = SYSTEMS[system]
    _, backbone, preset = registry.find("backbones", name)
    _, quantizer, options = registry.find("quantizers", method)
    seconds: list[float] = []
    parameters = 0

    def work() -> None:
        nonlocal parameters
        model = Autoencoder(backbone(3, dim, **preset, **given), quantizer(codes, dim, **options, **own))
        model = model.to(engine.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        judge = Patch(3).to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rules = GanConfig("hinge", 0.8, True, 0.0, 16, chosen.accumulate)
        players = GanTrainer(model, judge, rules, engine, AdamConfig(4.5e-6))
        loss = Reconstruction(engine, ReconstructionWeights(1.0, 0.0, 1.0))
        for _ in range(1 + chosen.repeat):
            x = torch.rand(chosen.batch, 3, chosen.side, chosen.side, device=engine.device) * 2 - 1
            begun = time.perf_counter()
            players.update(x, loss, playing, False).tolist()  # waits for the device
            seconds.append(time.perf_counter() - begun)

    held, by = peak(work, engine.device)
    return {
        "system": system,
        "parameters": parameters,
        "side": chosen.side,
        "batch": chosen.batch,
        "accumulate": chosen.accumulate,
        "precision": chosen.precision,
        "discriminator": playing,
        "samples": seconds[1:],
        "peak": held,
        "peak_by": by,
    }


def measurement(chosen: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """All rows, each from a process of its own, and the machine that they were measured on."""
    rows = []
    for system in chosen.system or ["vqgan"]:
        for playing in ("yes", "no"):
            command = [sys.executable, __file__, *words, "--row", system, playing]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append(json.loads(output.splitlines()[-1]))
    from vqbench.system.provenance import machine_facts
    from vqbench.training.engine import Engine

    return {"machine": machine_facts(Engine(chosen.device).device), "repeat": chosen.repeat, "rows": rows}


def table(found: dict[str, Any], style: str) -> str:
    """Format the measurement as a table."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine = found["machine"]
    lines = [
        [
            row["system"],
            f"{row['parameters']:,}",
            *(row[key] for key in ("side", "batch", "accumulate", "precision")),
            "yes" if row["discriminator"] else "not yet",
            f"{statistics.median(row['samples']):.2f}",
            f"{row['peak'] / 1e6:,.0f}",
        ]
        for row in found["rows"]
    ]
    head = f"{origins_of(machine)[0]}, torch {machine['versions']['torch']}"
    by = ", ".join(dict.fromkeys(row["peak_by"] for row in found["rows"]))
    return "\n".join(
        [
            f"{head}, commit {machine['commit']}. Median of {found['repeat']} updates after one more; peak: {by} of "
            "model, nets, Adam and updates, beyond the imported libraries.",
            "",
            tabulate(lines, HEADS, style, disable_numparse=True, colalign=["left"] + ["right"] * 8),
        ]
    )


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=list(SYSTEMS), help="otherwise vqgan")
    parser.add_argument("--precision", choices=["float32", "tf32", "bf16"], default="float32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a kept measurement, in Markdown")
    parser.add_argument("--row", nargs=2, metavar=("SYSTEM", "PLAYING"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if chosen.row:
        system, playing = chosen.row
        print(json.dumps(one(chosen, system, playing == "yes")))
        return
    found = json.loads(chosen.show.read_text()) if chosen.show else measurement(chosen, words)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1) if chosen.json else table(found, "pipe" if chosen.show else "simple"))


if __name__ == "__main__":
    main(sys.argv[1:])
