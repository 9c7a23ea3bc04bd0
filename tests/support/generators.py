"""A small generator, and the measuring of its samples, by one rank or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.support.measured_samples import smooth
from tests.support.threads import Thread, two_ranks
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import Interrupted
from vqbench.evaluation import samples as generation
from vqbench.store.value_name import Sampling

CPU = torch.device("cpu")
ONE_STEP = {"steps": 1, "eta": 0}
SAMPLING = Sampling(10, "test", settings=ONE_STEP)
NAME = f"clean:{SAMPLING.name}"
WEIGHTS = {"net.w": torch.ones(3)}
# The files of samples in a finished folder.
WHOLE = {f"samples-{SAMPLING.samples_name}.npy", "samples.png", "neighbours.png", "samples.npz", "samples.sha256"}


class Split:
    """A data set whose splits are ``images``."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def pixels(self, split: str) -> Any:
        return self.images

    def digest(self, split: str) -> str:
        return "0" * 64


class Maker:
    """In place of a generator: an image of noise for each seed. Records the requested indices."""

    def __init__(self, weights: dict[str, Tensor] = WEIGHTS) -> None:
        self.weights = weights
        self.made: list[list[int]] = []

    def eval(self) -> Maker:
        return self

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights

    def sample(self, seeds: Sequence[int], *, steps: int, eta: float) -> Tensor:
        self.made.append(list(seeds))
        return torch.stack([torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(each)) for each in seeds])


def place(purpose: str, number: int) -> int:
    """In place of the seeds of a run: the index itself."""
    assert purpose == "sample"
    return number


def measure(
    folder: Path,
    maker: Maker,
    progress: Callable[[int, int], None] = lambda *_: None,
    group: RankGroup = ALONE,
    anew: bool = True,
    wanted: Mapping[str, Sequence[str]] = MappingProxyType({NAME: ["copies"]}),
    mirrored: bool = False,
) -> Any:
    evaluator = generation.SampleEvaluator(Split(smooth(20, 1, 8)), CPU, group)  # type: ignore[arg-type]
    return evaluator.measure(maker, place, folder, wanted, progress, None, anew, mirrored)  # type: ignore[arg-type]


def on_two(folder: Path, anew: bool = True, maker: type[Maker] = Maker, **on_rank_0: Any) -> list[Maker]:
    """Measure with two ranks, the first of which is given ``on_rank_0`` as well; what each of them made.

    An error is one that both raised.
    """
    makers = [maker(), maker()]

    def part(rank: Thread) -> Any:
        own = on_rank_0 if rank.is_first else {}
        try:
            return measure(folder, makers[rank.rank], group=rank, anew=anew, **own)
        except Exception as error:
            return error

    ends = two_ranks(part)
    if isinstance(ends[0], Exception):
        assert str(ends[1]) == str(ends[0])
        raise ends[0]
    assert [end.values.keys() for end in ends] == [{NAME}] * 2
    return makers


def stopped_at(images: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        assert total == 10
        if done == images:
            raise Interrupted("stopped while measuring")

    return progress


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def samples_in(folder: Path) -> np.ndarray:
    return np.load(folder / f"samples-{SAMPLING.samples_name}.npy")
