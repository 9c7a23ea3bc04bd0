"""Time a quantizer by itself, beside the bare product, and in a training step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from vqbench import registry, spec
from vqbench.backbone import Autoencoder
from vqbench.dataset import Dataset, Split
from vqbench.errors import Interrupted
from vqbench.functional.precision import float32_products
from vqbench.profiling.subjects import Subject
from vqbench.profiling.update_parts import UpdateParts
from vqbench.protocol import TRAIN
from vqbench.quantizer import Quantizer
from vqbench.recipe import Recipe, Task
from vqbench.spec import PluginSpec, RunSpec
from vqbench.training.capture.captured_update import UpdateCapture
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine, Precision
from vqbench.training.model_building import build

Call = Callable[[], object]
PRODUCT_LIMIT = 2**26  # entries of the bare product at once: 256 MiB in float32; larger ones are computed by rows
GPU_CALLS = 10  # calls between two synchronizations
RECIPE = TRAIN["clean"].recipe
WARM_UP = 2  # rounds that are not counted


# Sizes ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomImages:
    """A batch of random images, in the shape of a data set's.

    Under ``conv``, 28 pixels make 7x7 features and 32 make 8x8.
    """

    batch: int
    channels: int
    size: int

    @property
    def positions(self) -> int:
        return (self.size // 4) ** 2


def images(n: int) -> RandomImages | None:
    """Return the batch that has ``n`` features, or None.

    Grey images of 28 pixels (as MNIST), else three channels and 32 pixels (as CIFAR10).
    """
    for channels, size in ((1, 28), (3, 32)):
        positions = (size // 4) ** 2
        if n % positions == 0:
            return RandomImages(n // positions, channels, size)
    return None


def feature_map(n: int, dim: int, device: torch.device) -> Tensor:
    """Draw ``n`` normal features as a map (B, dim, h, w).

    In channels-last memory, as from the encoder.
    """
    batch = images(n)
    shape = (batch.batch, batch.size // 4, batch.size // 4) if batch else (n, 1, 1)
    return torch.randn(*shape, dim, device=device).permute(0, 3, 1, 2)


# Pieces ---------------------------------------------------------------------------------------------------------------


def quantizer_calls(quantizer: Quantizer, n: int, device: torch.device) -> dict[str, Call]:
    """Return calls of ``quantizer``: forward, forward_backward and evaluation.

    The first two are in training, with gradients to features and codebook.
    """
    z = feature_map(n, quantizer.dim, device).requires_grad_()
    upstream = feature_map(n, quantizer.dim, device)

    def forward() -> Any:
        quantizer.train()
        return quantizer(z)

    def forward_backward() -> None:
        z.grad = None
        quantizer.zero_grad()
        backward(forward(), upstream)

    @torch.no_grad()
    def evaluation() -> Any:
        quantizer.eval()
        return quantizer(z)

    return {"forward": forward, "forward_backward": forward_backward, "evaluation": evaluation}


def backward(out: Any, upstream: Tensor) -> None:
    """Backpropagate through a quantizer's output.

    ``upstream`` is the gradient of ``z_q``, as from the decoder.
    """
    heads = [(out.z_q, upstream), (out.loss, torch.ones_like(out.loss))]
    heads = [(tensor, gradient) for tensor, gradient in heads if tensor.requires_grad]
    torch.autograd.backward([tensor for tensor, _ in heads], [gradient for _, gradient in heads])


def bare_product(n: int, k: int, d: int, device: torch.device) -> Call:
    """Return a call of ``features @ codebook.T``, (N, K), strictly in float32.

    By blocks of rows if it is larger than the limit.

    Into allocated memory, so that the system's time for new pages is not counted.
    """
    features, codebook = torch.randn(n, d, device=device), torch.randn(k, d, device=device)
    blocks = features.split(max(1, PRODUCT_LIMIT // k))
    out = torch.empty(len(blocks[0]), k, device=device)

    @torch.no_grad()
    def product() -> None:
        with float32_products():
            for block in blocks:
                torch.mm(block, codebook.T, out=out[: len(block)])

    return product


# Rounds ---------------------------------------------------------------------------------------------------------------


@dataclass
class Rounds:
    """Calls that are timed in turn, A B C A B C ...

    So a machine that slows down slows all of them.
    """

    calls: Mapping[str, Call]
    device: torch.device
    samples: dict[str, list[float]] = field(default_factory=dict)  # seconds per call, one per round

    def turn(self, counted: bool = True) -> None:
        """Time every call once."""
        for name, call in self.calls.items():
            seconds = self.seconds(call)
            if counted:
                self.samples.setdefault(name, []).append(seconds)

    def seconds(self, call: Call) -> float:
        calls = GPU_CALLS if self.device.type == "cuda" else 1
        started = now(self.device)
        for _ in range(calls):
            call()
        return (now(self.device) - started) / calls


def now(device: torch.device) -> float:
    """Return the clock's time once ``device`` has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


# The step -------------------------------------------------------------------------------------------------------------


class Noise(Dataset):
    """Random images; their content does not change any time."""

    def __init__(self, like: RandomImages, count: int) -> None:
        self.channels, self.size = like.channels, like.size  # type: ignore[misc]  # of this one, not of the class
        levels = torch.Generator().manual_seed(0)
        self.levels = torch.randint(
            256, (count, like.channels, like.size, like.size), dtype=torch.uint8, generator=levels
        )

    def pixels(self, split: Split) -> Tensor:
        return self.levels


@dataclass(frozen=True)
class StepTimer:
    """Times a training step as the suites take it, on a batch of ``like``.

    With their recipe, backbone and optimiser.
    """

    subject: Subject
    like: RandomImages
    precision: Precision = "float32"
    device: str = "auto"
    capture: Callable[[str], None] | None = None  # replay updates as CUDA graphs; called with why they are not

    def model(self, dataset: Dataset) -> Autoencoder:
        """Build the untrained model as a run does."""
        return build(self._run(), dataset)

    def _run(self) -> RunSpec:
        backbone = registry.resolve("backbones", "conv", {})
        parts = (
            PluginSpec(RECIPE, 1, self._recipe()),
            PluginSpec(backbone.name, backbone.version, backbone.args),
            PluginSpec("noise", 1, {}),
            PluginSpec(self.subject.name, self.subject.version, self.subject.args),
        )
        return RunSpec(*parts, seed=0)

    def _recipe(self) -> dict[str, Any]:
        own = {"epochs": 1, "batch_size": self.like.batch, "learning_rate": 3e-4, "precision": self.precision}
        return {**own, "variance": "unit", "selection": "last", "selection_pass": "eval"}

    def timed(self, between: Rounds, repeat: int, parts: dict[str, list[float]] | None = None) -> list[float]:
        """Time the recipe's own loop: seconds per step, one per round.

        A round of ``between`` follows each. ``parts`` is filled with the seconds of each part within the same steps.

        The loop reports every finished update. The time from the end of one report to the next is a step; the round is
        carried out during the report. On a GPU, several steps are one sample.
        """
        stride = GPU_CALLS if between.device.type == "cuda" else 1
        updates = (WARM_UP + repeat) * stride
        count = max((updates + 1) * self.like.batch, -(-self.subject.size.k // self.like.positions))
        dataset = Noise(self.like, count)  # so large that no epoch ends
        samples: list[float] = []
        started = 0.0
        done = 0

        def progress(now_done: int, total: int) -> None:
            nonlocal started, done
            done = now_done
            if done % stride:
                return
            counted = done // stride > WARM_UP
            if counted:
                samples.append((now(between.device) - started) / stride)
            for part, seconds in (clock.finished() if clock else {}).items():
                if parts is not None and counted:
                    parts.setdefault(part, []).append(seconds / stride)
            between.turn(counted)
            started = now(between.device)

        recipe: Recipe = registry.load("recipes", RECIPE)(**self._recipe())
        engine = Engine(self.device, self.precision)
        model = self.model(dataset).to(engine.device)
        capture = None if self.capture is None else UpdateCapture(recipe, model.quantizer, engine, self.capture)
        clock = None if parts is None else UpdateParts(model, partial(now, between.device))
        with TemporaryDirectory() as folder:
            task = Task(
                model=model,
                dataset=dataset,
                seeds=spec.seeds(0, "noise"),
                engine=engine,
                folder=Path(folder),
                monitor=CodebookMonitor(),
                progress=progress,
                stopped=lambda: done >= updates,
                checkpoint_interval=math.inf,  # what is timed is the update
                capture=capture,
            )
            try:
                recipe.fit(task)
            except Interrupted:
                return samples
            finally:
                if clock:
                    clock.remove()
        raise AssertionError("the data set is larger than what is measured, so the loop is always interrupted")
