"""One of several ranks that train and measure quantizers by the real recipe, for tests: ``python tests/ranks.py``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vqbench import group as groups
from vqbench import protocol, registry, seeding
from vqbench.backbones.conv import Conv
from vqbench.datasets.fashion_mnist_5k import FashionMnist5k
from vqbench.engine import Engine
from vqbench.evaluate import Evaluator
from vqbench.group import ALONE, Group
from vqbench.model import Autoencoder
from vqbench.quantizer import QuantizerOutput
from vqbench.recipe import Task
from vqbench.recipes import autoencoder

PATIENCE = 300  # seconds; far longer than anything takes, so that a fault ends a test and the time does not
BATCH = 99  # of 300 pictures: no two ranks have equally many, and the last batch has 3, fewer than four ranks
METRICS = ("l1", "usage", "perplexity", "bits", "psnr", "ssim")
MEASURED = ("cvq", "residual")  # by all of them

# All that ship for several ranks, and what their arguments change of what ranks exchange.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in registry.names("quantizers") if registry.load("quantizers", name).distributed},
    "cvq, closest, l2": ("cvq", {"anchor": "closest", "distance": "l2"}),
    "cvq, probability, l2": ("cvq", {"anchor": "probability", "distance": "l2"}),
    "cvq, random, as released": ("cvq", {"anchor": "random", "contrastive_gradient": "released"}),
    "cvq, unique, offline": ("cvq", {"anchor": "unique", "online": False}),
    "rotation of cvq": ("rotation", {"codebook": "cvq"}),
    "residual, shared": ("residual", {"shared": True}),
    "offline_kmeans, early": ("offline_kmeans", {"fit_at": 0.3}),
}


class Few(FashionMnist5k):
    """300 training and 100 test pictures."""

    holdout = 44

    def pixels(self, split: Any) -> torch.Tensor:
        return super().pixels(split)[: 300 if split == "train" else 100]


def recipe(**changes: Any) -> autoencoder.Autoencoder:
    base = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-3}
    return autoencoder.Autoencoder(**{**protocol.training("clean"), **base, **changes})


class DoubleConv(Conv):
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return super().encode(x.double())


class Double(Autoencoder):
    """In float64, so that the order in which ranks add up decides no nearest neighbour."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, QuantizerOutput]:
        out = self.quantizer(self.backbone.encode(x))
        return self.backbone.decode(out.z_q), out


def outcome(name: str, group: Group, folder: Path) -> dict[str, Any]:
    """Four updates and a selection pass that teaches, as in the released code, then all that is measured."""
    quantizer, arguments = CASES[name]
    torch.manual_seed(0)
    backbone = DoubleConv(1, 8, hidden=8, residual_hidden=4)
    model = Double(backbone, registry.load("quantizers", quantizer)(32, 8, **arguments)).double()
    engine = Engine("cpu", group=group)
    task = Task(model, Few(), seeding.seeds(42, "few"), engine, folder / f"{name}-{group.size}")
    trained = recipe(epochs=1, batch_size=BATCH, selection="test", selection_pass="train").fit(task)
    metrics = METRICS if name in MEASURED else METRICS[:2]
    wanted = {"clean": metrics, "official": metrics, "clean@70": ("l1",)}
    measurement = Evaluator(Few(), engine.device, group=group).measure(model, wanted)
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "history": trained.history,
        "values": {p: {m: (v.value, v.images) for m, v in ms.items()} for p, ms in measurement.values.items()},
        "images": {name: torch.from_numpy(each) for name, each in measurement.images.items()},
    }


def together(size: int, names: Iterable[str], folder: Path) -> list[Mapping[str, Any]]:
    """What each of so many processes makes of these cases, one after the other in one group."""
    words = [sys.executable, __file__, str(size), str(folder)]
    with tempfile.TemporaryFile("w+") as told:
        ranks = [subprocess.Popen([*words, str(rank), *names], stdout=told, stderr=told) for rank in range(size)]
        try:
            codes = [rank.wait(PATIENCE) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
        told.seek(0)
        assert not any(codes), told.read()
    return [torch.load(folder / f"{size}.{rank}", weights_only=True) for rank in range(size)]


def main(size: int, folder: Path, rank: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / f"meeting-{size}"), size)
    group = groups.join(rank, size, rank, size, gpus=False, store=store)
    torch.save({name: outcome(name, group, folder) for name in names}, folder / f"{size}.{rank}")
    groups.leave()


def alone(names: Iterable[str], folder: Path) -> Mapping[str, Any]:
    """The same in this process, without a group."""
    return {name: outcome(name, ALONE, folder) for name in names}


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
