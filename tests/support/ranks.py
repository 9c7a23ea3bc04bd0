"""Train and evaluate quantizers by the real recipe on one of several ranks, for tests; the file is its program."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vqbench import protocol, registry, spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.datasets.fashion_mnist_5k import FashionMnist5k
from vqbench.distributed import group as groups
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import Interrupted, RunError
from vqbench.evaluation import reconstructions
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq_ema import VQEMA
from vqbench.recipe import Task
from vqbench.recipes import autoencoder
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine

PATIENCE = 900  # seconds; far longer than any step takes, so that only a fault can reach it
BATCH = 99  # of 300 images: no two ranks have equally many, and the last batch has 3, fewer than four ranks
METRICS = ("l1", "usage", "perplexity", "bits", "psnr", "ssim")

# All built-in methods for several ranks, and the arguments that change what ranks exchange.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in registry.names("quantizers") if registry.load("quantizers", name).distributed},
    "cvq, closest, l2": ("cvq", {"anchor": "closest", "distance": "l2"}),
    "cvq, probability, l2": ("cvq", {"anchor": "probability", "distance": "l2"}),
    "cvq, random, as released": ("cvq", {"anchor": "random", "contrastive_gradient": "released"}),
    "cvq, unique, offline": ("cvq", {"anchor": "unique", "online": False}),
    "rotation of cvq": ("rotation", {"codebook": "cvq"}),
    "residual, shared": ("residual", {"shared": True}),
    "offline_kmeans, early": ("offline_kmeans", {"fit_at": 0.3}),
    "diverging": ("", {}),
}


class Few(FashionMnist5k):
    """300 training and 100 test images."""

    holdout = 44

    def pixels(self, split: Any) -> torch.Tensor:
        return super().pixels(split)[: 300 if split == "train" else 100]


class Measured(Few):
    """250 test images: three passes, of which two ranks take one and two, and the first of four none."""

    def pixels(self, split: Any) -> torch.Tensor:
        return FashionMnist5k.pixels(self, split)[:250] if split == "test" else super().pixels(split)


def recipe(**changes: Any) -> autoencoder.ReconstructionRecipe:
    base = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-3}
    return autoencoder.ReconstructionRecipe(**{**protocol.training("clean"), **base, **changes})


class DoubleConv(Conv):
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return super().encode(x.double())


class Double(Autoencoder):
    """An autoencoder in float64, so that the order of a sum over ranks changes no nearest neighbour."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, QuantizerOutput]:
        out = self.quantize_features(self.backbone.encode(x))
        return self.backbone.decode(out.z_q), out

    def quantize_features(self, z: torch.Tensor) -> QuantizerOutput:
        out: QuantizerOutput = self.quantizer(z)
        return out


class Diverging(VQEMA):
    """VQ-EMA whose ranks update the codebook from different statistics."""

    def update(self, counts: torch.Tensor, sums: torch.Tensor) -> None:
        super().update(counts, sums * (1 + dist.get_rank()))


def task_of(name: str, group: RankGroup, folder: Path) -> Task:
    torch.manual_seed(0)
    quantizer, arguments = CASES[name.partition(" and ")[0]]
    method: Any = registry.load("quantizers", quantizer) if quantizer else Diverging
    model = Double(DoubleConv(1, 8, hidden=8, residual_hidden=4), method(32, 8, **arguments)).double()
    return Task(
        model,
        Few(),
        spec.seeds(42, "few"),
        Engine("cpu", group=group),
        folder / f"{name}-{group.size}",
        CodebookMonitor(),
    )


def trained(name: str, group: RankGroup, folder: Path) -> tuple[Task, list[dict[str, Any]]]:
    """Train for four updates and a selection pass that updates codebooks, as in the released code.

    Cases called "and stopped" are stopped and resumed after every second update.
    """
    checks = iter(range(100))
    while True:
        task = task_of(name, group, folder)
        if name.endswith(" and stopped"):
            task.stopped = lambda: group.is_first and next(checks) % 2 == 1  # only rank 0 sees signals
        try:
            return task, recipe(epochs=1, batch_size=BATCH, selection="test", selection_pass="train").fit(task).history
        except Interrupted:
            assert name.endswith(" and stopped")


def outcome(name: str, group: RankGroup, folder: Path) -> dict[str, Any]:
    """Train and evaluate: "and measured" by all metrics, "and judged" also by those with networks."""
    try:
        task, history = trained(name, group, folder)
    except RunError as error:
        return {"error": str(error)}
    wanted: dict[str, tuple[str, ...]] = {"clean": METRICS[:2]}
    if name.endswith(" and measured"):
        wanted = {"clean": METRICS, "official": METRICS, "clean@70": METRICS[:1]}
    if name.endswith(" and judged"):
        reconstructions.BATCH = 10  # so that a few images are several passes
        wanted = dict.fromkeys(("clean@24", "official@24"), ("lpips", "rfid"))
    measurement = Evaluator(Measured(), task.engine.device, group=group).measure(task.model, wanted)
    return {
        "state": {name: value.clone() for name, value in task.model.state_dict().items()},
        "history": history,
        "values": {p: {m: (v.value, v.images) for m, v in ms.items()} for p, ms in measurement.values.items()},
        "images": {name: torch.from_numpy(each) for name, each in measurement.images.items()},
    }


def together(size: int, names: Iterable[str], folder: Path) -> list[Mapping[str, Any]]:
    """Run these cases, one after the other in one group, on so many processes; return the results of each."""
    words = [sys.executable, __file__, str(size), str(folder)]
    with tempfile.TemporaryFile("w+") as output:
        ranks = [subprocess.Popen([*words, str(rank), *names], stdout=output, stderr=output) for rank in range(size)]
        try:
            codes = [rank.wait(PATIENCE) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
        output.seek(0)
        assert not any(codes), output.read()
    return [torch.load(folder / f"{size}.{rank}", weights_only=True) for rank in range(size)]


def main(size: int, folder: Path, rank: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / f"meeting-{size}"), size)
    group = groups.join(rank, size, rank, size, gpus=False, store=store)
    torch.save({name: outcome(name, group, folder) for name in names}, folder / f"{size}.{rank}")
    groups.leave()


def alone(names: Iterable[str], folder: Path) -> Mapping[str, Any]:
    """Run these cases in this process, without a group."""
    return {name: outcome(name, ALONE, folder) for name in names}


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
