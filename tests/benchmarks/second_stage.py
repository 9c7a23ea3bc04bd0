"""Parameters, seconds and peak memory of the second stage of a suite, on random latents.

Run from the root of the checkout, on a quiet machine::

    python tests/benchmarks/second_stage.py                       # the UNet of lsun_bedrooms, one image, in float32
    python tests/benchmarks/second_stage.py --batch 128 --precision bf16 --device cuda -o FILE
    python tests/benchmarks/second_stage.py --show FILE           # the table of a kept measurement, without torch

The first stage is the suite's, untrained. An update is the recipe's: random numbers, loss, gradients, AdamW and the
average of the weights. A step of sampling is one pass of the network without gradients, of which an image needs as
many as the suite says. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

HEADS = ["second stage", "parameters", "latents", "batch", "precision", "update [s]", "step [s]", "peak [MB]"]


def measurement(chosen: argparse.Namespace) -> dict[str, Any]:
    """What one process finds; its peak is that of the updates."""
    import torch

    from vqbench import registry
    from vqbench.backbone import Autoencoder
    from vqbench.planning.suite_files import load_suite
    from vqbench.profiling.peak_memory import peak
    from vqbench.system.provenance import machine_facts
    from vqbench.training.engine import Engine

    suite = load_suite(chosen.suite)
    assert suite.generate is not None, f"{chosen.suite} has no second stage"
    row, budget = suite.rows()[0], suite.rows()[0].budget
    backbone: Any = registry.load("backbones", suite.backbone.name)
    quantizer: Any = registry.load("quantizers", row.quantizer)
    args = suite.generate.args | {"batch_size": chosen.batch, "precision": chosen.precision}
    recipe: Any = registry.load("recipes", suite.generate.name)(**args)
    engine = Engine(chosen.device, chosen.precision)
    torch.manual_seed(0)
    first = Autoencoder(backbone(3, budget["dim"], **suite.backbone.args), quantizer(**budget, **row.args))
    found: dict[str, Any] = {"update": [], "step": []}

    def work() -> None:
        generator = recipe.generator(first.to(engine.device).eval(), 3, chosen.side)
        found["parameters"] = sum(parameter.numel() for parameter in generator.parameters())
        found["shape"] = list(generator.shape)
        optimizer = torch.optim.AdamW(generator.parameters(), lr=recipe.learning_rate)
        average = {name: value.detach().clone() for name, value in generator.named_parameters()}
        model = engine.setup(generator)
        rows = torch.randn(chosen.batch, *generator.shape, device=engine.device)
        for step in range(1 + chosen.repeat):
            begun = time.perf_counter()
            loss = recipe.loss(model, *recipe.batch(generator, rows))
            optimizer.zero_grad()
            engine.backward(loss)
            optimizer.step()
            recipe._average(average, generator, step + 1)
            loss.item()  # waits for the device
            found["update"].append(time.perf_counter() - begun)
        generator.eval()
        with torch.no_grad():
            for _ in range(1 + chosen.repeat):
                begun = time.perf_counter()
                generator(rows, torch.tensor(500, device=engine.device)).sum().item()
                found["step"].append(time.perf_counter() - begun)

    held, by = peak(work, engine.device)
    settings = {
        "suite": chosen.suite,
        "recipe": suite.generate.name,
        "batch": chosen.batch,
        "precision": chosen.precision,
    }
    machine = machine_facts(engine.device)
    return {**settings, **found, "peak": held, "peak_by": by, "machine": machine, "repeat": chosen.repeat}


def table(found: dict[str, Any], style: str) -> str:
    """Format the measurement as a table."""
    from tabulate import tabulate

    from vqbench.system.provenance import origins_of

    machine = found["machine"]
    line = [
        f"{found['recipe']} of {found['suite']}",
        f"{found['parameters']:,}",
        "x".join(map(str, [*found["shape"][1:], found["shape"][0]])),
        found["batch"],
        found["precision"],
        *(f"{statistics.median(found[key][1:]):.2f}" for key in ("update", "step")),
        f"{found['peak'] / 1e6:,.0f}",
    ]
    return "\n".join(
        [
            f"{origins_of(machine)[0]}, torch {machine['versions']['torch']}, commit "
            f"{machine['commit']}. Medians of {found['repeat']} after one more; peak: {found['peak_by']} of the first "
            "stage, the network, its average and AdamW, beyond the imported libraries.",
            "",
            tabulate([line], HEADS, style, disable_numparse=True, colalign=["left"] + ["right"] * 7),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", default="lsun_bedrooms", help="a suite with a second stage `diffusion`")
    parser.add_argument("--precision", choices=["float32", "tf32", "bf16"], default="float32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--side", type=int, default=256, help="of the images")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the measurement as JSON")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a kept measurement, in Markdown")
    chosen = parser.parse_args()
    found = json.loads(chosen.show.read_text()) if chosen.show else measurement(chosen)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, "pipe" if chosen.show else "simple"))


if __name__ == "__main__":
    main()
