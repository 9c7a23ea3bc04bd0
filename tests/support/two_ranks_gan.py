"""Run three updates of recipe ``gan`` as one of two ranks; the program takes the rank and a folder to meet in."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.vqgan import VQGAN
from vqbench.dataset import Dataset
from vqbench.distributed import collectives
from vqbench.distributed import group as groups
from vqbench.distributed.group import RankGroup
from vqbench.errors import Interrupted
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.vq_ema import VQEMA
from vqbench.recipe import Task
from vqbench.recipes.gan import Gan
from vqbench.training.adversarial.patch import Patch
from vqbench.training.adversarial.reconstruction import Reconstruction, ReconstructionWeights
from vqbench.training.adversarial.stylegan import StyleGAN
from vqbench.training.adversarial.update import AdamConfig, GanConfig, GanTrainer
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine

KINDS = ("patch", "stylegan")
STEPS = 3
SMALL = {"width": 32, "multipliers": "1x1", "blocks": 1, "z_channels": 16, "attention": "none", "size": 16}


def train(kind: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    """Return the state, terms and last gradients after three updates on this rank's part of each batch."""
    torch.manual_seed(0)
    patch = kind == "patch"
    backbone = VQGAN(3, 8, **SMALL)  # type: ignore[arg-type]
    model = Autoencoder(backbone, CVQ(16, 8, distance="l2", contrastive=False) if patch else VQEMA(16, 8))
    judge = Patch(3, 8, 2) if patch else StyleGAN(3, 16, 16)
    rules = GanConfig("hinge" if patch else "non_saturating", 0.8, patch, 1.0, 2, 1 if patch else 2)
    engine = Engine("cpu")
    adam = AdamConfig(1e-3, eps=1e-3)  # so that rounding, where a gradient is zero, moves nothing
    players = GanTrainer(model.train(), judge, rules, engine, adam)
    loss = Reconstruction(engine, ReconstructionWeights(1.0, 0.5, 0.0))
    result = {}
    for step in range(STEPS):
        count = 7 if patch else 8  # unequal parts, or whole groups of images
        batch = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(step)).clamp(-1, 1)
        torch.manual_seed(100 + step)
        with collectives.SharedBatch(count):
            own = batch[collectives.rank_slice(count, rank, world)]
            result[f"terms {step}"] = players.update(own, loss, True, step % 2 == 0)
    for name, module in (("model", model), ("judge", judge)):
        result |= {f"{name} {key}": value for key, value in module.state_dict().items()}
        for key, parameter in module.named_parameters():
            if parameter.grad is not None:
                result[f"gradient of {name} {key}"] = parameter.grad
    return result


class Noise(Dataset):
    """Fourteen images of 16 pixels."""

    channels, size = 3, 16

    def pixels(self, split: Any) -> torch.Tensor:
        return torch.randint(256, (14, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def run(group: RankGroup, folder: Path) -> dict[str, Any]:
    """Train by the whole recipe, stopped by rank 0 after three updates and resumed."""
    recipe = Gan(
        steps=6,
        batch_size=7,
        learning_rate=1e-5,  # small: Adam makes steps of noise where a gradient is zero but for rounding
        perceptual=0.0,
        discriminator_width=8,
        discriminator_layers=2,
        ema=0.9,
    )
    stop: Iterator[bool] = itertools.chain([False, False, group.is_first], itertools.repeat(False))
    stops = 0
    while True:
        torch.manual_seed(0)
        model = Autoencoder(VQGAN(3, 8, **SMALL), CVQ(16, 8, distance="l2", contrastive=False))  # type: ignore[arg-type]
        task = Task(model, Noise(), spec.seeds(1, "noise"), Engine("cpu", group=group), folder, CodebookMonitor())
        task.stopped = stop.__next__
        try:
            history = recipe.fit(task).history
        except Interrupted:
            stops += 1
        else:
            return {"state": model.state_dict(), "losses": history, "stops": stops}


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    group = groups.join(rank, 2, rank, 2, gpus=False, store=dist.FileStore(str(folder / "meeting"), 2))
    results: dict[str, Any] = {kind: train(kind, rank, 2) for kind in KINDS}
    torch.save({**results, "recipe": run(group, folder / "run")}, folder / f"{rank}.pt")
    groups.leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
