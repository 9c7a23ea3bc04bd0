"""Three updates of recipe ``gan``, alone or as one of two ranks: run with the rank and a folder to meet in."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from vqbench.adversarial.patch import Patch
from vqbench.adversarial.reconstruction import Reconstruction
from vqbench.adversarial.stylegan import StyleGAN
from vqbench.adversarial.update import Players, Rules
from vqbench.backbones.vqgan import VQGAN
from vqbench.engine import Engine
from vqbench.model import Autoencoder
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.vq_ema import VQEMA

KINDS = ("patch", "stylegan")
STEPS = 3
PICTURES = 8


def train(kind: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    """Three updates on this rank's part of each batch: the state, what was reported, and the gradients of the last."""
    torch.manual_seed(0)
    small = {"width": 32, "multipliers": "1x1", "blocks": 1, "z_channels": 16, "attention": "none", "size": 16}
    patch = kind == "patch"
    backbone = VQGAN(3, 8, **small)  # type: ignore[arg-type]
    model = Autoencoder(backbone, CVQ(16, 8, distance="l2", contrastive=False) if patch else VQEMA(16, 8))
    judge = Patch(3, 8, 2) if patch else StyleGAN(3, 16, 16)
    rules = Rules("hinge" if patch else "non_saturating", 0.8, patch, 1.0, 2, 1 if patch else 2)
    engine = Engine("cpu")
    adam = {"lr": 1e-3, "betas": (0.5, 0.9), "eps": 1e-3}  # so that rounding, where a gradient is zero, moves nothing
    players = Players(model.train(), judge, rules, engine, adam, 0.0)
    loss = Reconstruction(engine, 1.0, 0.5, 0.0, None)
    result = {}
    for step in range(STEPS):
        batch = torch.randn(PICTURES, 3, 16, 16, generator=torch.Generator().manual_seed(step)).clamp(-1, 1)
        torch.manual_seed(100 + step)
        result[f"terms {step}"] = players.update(batch.chunk(world)[rank], loss, True, step % 2 == 0)
    for name, module in (("model", model), ("judge", judge)):
        result |= {f"{name} {key}": value for key, value in module.state_dict().items()}
        for key, parameter in module.named_parameters():
            if parameter.grad is not None:
                result[f"gradient of {name} {key}"] = parameter.grad
    return result


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.save({kind: train(kind, rank, 2) for kind in KINDS}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
